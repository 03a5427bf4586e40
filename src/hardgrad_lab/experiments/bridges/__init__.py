"""The experiments of the paper on differentiable approximation bridges."""
