"""The run that tests of checkpoints stop, damage and resume, and how runs are compared."""

import io

import numpy as np

SIZE = {"num_samples": 600, "num_replicates": 2}
"""2 replicates of 5 ensembles."""
NUM_PARTS = 2 + 2 * 5


def files(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def unequal(a, b):
    return {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)}


def same(a, b):
    np.testing.assert_array_equal(a.position, b.position)
    np.testing.assert_array_equal(a.log_weight, b.log_weight)
    np.testing.assert_array_equal(a.replicate, b.replicate)
    assert a.log_normalizer == b.log_normalizer
    assert a.num_evals == b.num_evals


class Interrupted(io.StringIO):
    """Standard error at which somebody presses Ctrl-C when it shows a certain text."""

    def __init__(self, text):
        super().__init__()
        self.text = text

    def write(self, text):
        if self.text in text:
            raise KeyboardInterrupt
        return super().write(text)
