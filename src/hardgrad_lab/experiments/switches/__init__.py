"""The experiments of the paper on the differentiable IF."""
