"""The user's density as a function of one flat array: PyTrees, coordinates, checks, supports."""
