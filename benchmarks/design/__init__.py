"""What each part of the default is worth, and what was tried and left out."""
