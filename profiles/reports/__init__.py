"""Reports put together: a profile, its verdict and limits, and comparisons of several."""
