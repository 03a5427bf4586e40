"""The published experiments of differentiable approximation bridges, one module per table or figure."""
