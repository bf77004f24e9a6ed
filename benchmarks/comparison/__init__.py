"""The same errors beside those of other samplers, and what they cost."""
