"""What was asked and what came out: the results database, its one door (`store.Store`) and its tidy frame."""
