"""Conditions: from a key to the number of a branch."""
