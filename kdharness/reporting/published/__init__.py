"""What papers and their repositories printed: the numbers, where they stand, and how they were selected."""
