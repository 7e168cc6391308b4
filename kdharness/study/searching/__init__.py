"""Searches for the constants of rows with ranges; `sampling` and its neighbours are all that knows Optuna."""
