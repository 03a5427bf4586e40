"""Vectors replaced by the nearest of a few that learn: codebooks, their gradients, their statistics."""
