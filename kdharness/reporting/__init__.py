"""Pure functions from the tidy frame to tables, and from tables to text."""
