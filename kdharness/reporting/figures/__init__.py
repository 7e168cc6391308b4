"""Figures as pure functions: a table, or the arrays of an analysis, to a drawing. One file for each kind."""
