"""Fitting one network to rows: points, branches, a training step by step or solved."""
