"""Monte Carlo that knows nothing of diffusions: kernels, tilted targets, resampling, weights."""
