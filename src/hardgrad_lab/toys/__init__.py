"""The toy problems of the papers on Monte Carlo gradients, small enough to know the truth by enumeration."""
