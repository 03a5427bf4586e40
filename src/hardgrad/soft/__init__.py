"""Relaxed sorts, ranks, top-k and quantiles: at temperature 0 the hard ones, above it with a slope everywhere."""
