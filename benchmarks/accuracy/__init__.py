"""How close the draws are to the truth, and whether the reported errors are right."""
