"""Solvers as layers: from costs to the best solution, and what its gradient is taken to be."""
