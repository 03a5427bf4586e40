"""The published experiments of the differentiable IF (LACTOSE), beside rivals of equal size and equal training."""
