"""What a paper's authors need of a study beside its tables, as text: pure functions of what the results say."""
