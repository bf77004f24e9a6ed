"""Files of a checkpoint: whole, absent, or known to be damaged; and digests of what a run is."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdmc_jax as rj
from rdmc_jax.runs.checkpoint import Part, digest, read_part, write_file, write_part

LEAVES = [np.arange(6.0).reshape(2, 3), np.zeros((), np.int32)]


def test_every_flipped_bit_is_noticed(tmp_path):
    file = tmp_path / "part.npz"
    write_part(file, Part("of a run", "of a pool", LEAVES))
    part, good = read_part(file), file.read_bytes()
    assert part.record == "of a run" and part.origin == "of a pool" and len(part.leaves) == 2
    for a, b in zip(part.leaves, LEAVES, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    for k in range(len(good)):
        file.write_bytes(good[:k] + bytes([good[k] ^ (1 << k % 8)]) + good[k + 1 :])
        with pytest.raises(ValueError, match="does not have its checksum"):
            read_part(file)


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


def test_digests_tell_apart_what_differs():
    long, loop = np.zeros(5000), rj.samplers.annealed_finish(num_temperatures=4)
    things = [
        None, 1, 1.0, True, "1", (1,), [1], {"a": 1}, {"a": 2}, {"b": 1},
        jnp.zeros(2), jnp.zeros(2, jnp.int32), jnp.zeros((2, 1)), jnp.ones(2), long, long + 1e-12,
        jax.random.key(0), jax.random.key(1), jax.random.key(0, impl="rbg"),
        loop, rj.samplers.annealed_finish(num_temperatures=5),
        rj.samplers.annealed_finish(rj.kernels.ula, num_temperatures=4),
        rj.plan(dim=2), rj.plan(dim=3), rj.plan(dim=2, num_samples=9999),
    ]  # fmt: skip
    assert len(set(map(digest, things))) == len(things)
    assert digest(np.zeros(2, np.float32)) == digest(jnp.zeros(2))
    assert digest(lambda x: x) == digest(lambda x: x + 1)  # as the docstring says


def test_a_digest_is_the_same_in_another_process():
    code = """
import rdmc_jax as rj
from rdmc_jax.runs.checkpoint import digest
print(digest(rj.plan(dim=5), object()))
"""
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.strip() == digest(rj.plan(dim=5), object())
