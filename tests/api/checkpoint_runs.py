"""The run that tests of checkpoints stop, damage and resume."""

SIZE = {"num_samples": 600, "num_replicates": 2}
"""2 replicates of 5 ensembles."""
NUM_PARTS = 2 + 2 * 5


def files(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def unequal(a, b):
    return {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)}
