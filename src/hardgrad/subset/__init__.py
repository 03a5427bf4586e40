"""Subsets of a fixed size: their one law, counted exactly."""
