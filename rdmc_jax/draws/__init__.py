"""The record of a run, what it says about itself, and what is wrong with it."""
