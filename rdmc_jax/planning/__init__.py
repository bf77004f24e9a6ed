"""Sizes: defaults by dimension and budget, tolerance, forecast, theory."""
