"""The host's side of a run: replicates, devices, checkpoints, progress."""
