"""Measurements: accuracy, comparison with other samplers, speed, design choices."""
