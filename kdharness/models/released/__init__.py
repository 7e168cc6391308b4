"""Weights that others trained: read from a foreign file without running its code, and fitted to a network's keys."""
