"""Files of a checkpoint: whole, absent, or known to be damaged; and what describes a run."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdmc_jax as rj
from rdmc_jax.runs.checkpoint import Part, read_part, write_file, write_part
from rdmc_jax.runs.described import described, digest

LEAVES = [np.arange(6.0).reshape(2, 3), np.zeros((), np.int32)]


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path):
    file = tmp_path / "part.npz"
    write_part(file, Part("of a run", "of a pool", LEAVES))
    good = file.read_bytes()
    refused = 0
    for k in range(len(good)):
        file.write_bytes(good[:k] + bytes([good[k] ^ (1 << k % 8)]) + good[k + 1 :])
        try:
            part = read_part(file)
        except ValueError as error:
            refused += 1
            assert str(error).startswith(("cannot be read", "does not have its checksum"))
            continue
        assert part.record == "of a run" and part.origin == "of a pool" and len(part.leaves) == 2
        for a, b in zip(part.leaves, LEAVES, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
    assert refused > len(good) / 2  # the rest are dates and the like of the archive


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_write_leaves_what_was_there(error, tmp_path, monkeypatch):
    file = tmp_path / "record"
    write_file(file, b"before")

    def fail(*names):
        raise error

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(error):
        write_file(file, b"after")
    assert [one.name for one in tmp_path.iterdir()] == ["record"]
    assert file.read_bytes() == b"before"


def test_descriptions_tell_apart_what_differs():
    def scaled(size):
        return lambda x: x * size

    def recursive(x):
        return recursive(x)

    loop = rj.samplers.annealed_finish(num_temperatures=4)
    things = [
        None, 1, 1.0, True, "1", (1,), [1], {"a": 1}, {"a": 2},
        jnp.zeros(2), jnp.zeros(2, jnp.int32), jnp.zeros((2, 1)), jnp.ones(2),
        jax.random.key(0), jax.random.key(1), jax.random.key(0, impl="rbg"),
        scaled(1), scaled(2), lambda x: x + 1, lambda x: x + 2,
        functools.partial(scaled, 1), functools.partial(scaled, 2), recursive,
        loop, rj.samplers.annealed_finish(num_temperatures=5),
        rj.samplers.annealed_finish(rj.kernels.ula, num_temperatures=4),
        rj.plan(dim=2), rj.plan(dim=3), rj.plan(dim=2, num_samples=9999),
        jax.jit(scaled(3)), np.float32(1), rj.Draws,
    ]  # fmt: skip
    texts = [described(one) for one in things]
    assert len(set(texts)) == len(texts)
    assert not any(" at 0x" in text for text in texts)


def test_descriptions_of_what_is_shared_or_has_no_end_are_short():
    class Node:
        def __init__(self, left, right):
            self.left, self.right, self.root = left, right, self

    shared = deep = Node(0.0, 1.0)
    for _ in range(200):
        shared, deep = Node(shared, shared), [deep]
    assert len(described(shared)) < 1000 and len(described(deep)) < 10_000


def test_a_description_is_the_same_in_another_process():
    code = """
import rdmc_jax as rj
from rdmc_jax.runs.described import described, digest
rj.samplers.annealed_finish(num_temperatures=7)  # caches are not what is described
print(digest(described(rj.plan(dim=5))))
"""
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.strip() == digest(described(rj.plan(dim=5)))
