"""Devices and processes change execution only; so does the automatic chunk."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from on_devices import AXES, DATA, METHODS, POOLED, density, draws_of, known_draws_of, mesh_of

import rdmc_jax as rj
from rdmc_jax.runs.devices import (
    MEMORY_SHARE,
    MOST_SIDE_BY_SIDE,
    automatic_chunk,
    check_mesh,
    ensemble_bytes,
)

SCRIPT = Path(__file__).parents[1] / "on_devices.py"


@pytest.fixture(scope="module")
def alone():
    """The run on one device."""
    return draws_of()


def started(num_devices, *arguments):
    own = f"--xla_force_host_platform_device_count={num_devices}"
    flags = " ".join((os.environ.get("XLA_FLAGS", ""), own)).strip()
    paths = os.pathsep.join(sys.path)
    environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def finished(processes):
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:  # one that failed leaves the other waiting
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(errors)


def check_equal(file, alone):
    """Law 2: nearly all draws close, log Z within three standard errors."""
    found = np.load(file)
    close = np.isclose(found["position"], alone.position, rtol=1e-3, atol=1e-3)
    assert np.mean(np.all(close, axis=1)) >= 0.95
    close = np.isclose(found["log_weight"], alone.log_weight, rtol=1e-2, atol=1e-2)
    assert np.mean(close) >= 0.95
    gap = found["log_normalizer"] - alone.log_normalizer
    assert abs(gap) < 3 * alone.log_normalizer_error
    assert found["num_evals"].tolist() == list(alone.num_evals)


def test_chunks_in_double_precision():
    with jax.enable_x64(True):
        data = {name: leaf.astype(np.float64) for name, leaf in DATA.items()}
        options = {"data": data, "method": POOLED, "num_replicates": 1}
        whole, chunked = (
            rj.sample(jax.random.key(0), density, jnp.zeros(2), 128, chunk_size=size, **options)
            for size in (128, 64)
        )
        assert whole.position.dtype == jnp.float64
        np.testing.assert_allclose(whole.position, chunked.position, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(whole.log_weight, chunked.log_weight, rtol=1e-6, atol=1e-8)


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Files of the runs on four devices."""
    output = tmp_path_factory.mktemp("devices") / "four.npz"
    finished([started(4, output)])
    return output


def test_four_devices_give_the_draws_of_one(alone, four):
    check_equal(four, alone)


@pytest.mark.parametrize("name", METHODS)
def test_a_pool_s_draws_on_four_devices_are_those_of_one(four, name):
    alone = known_draws_of(name)
    # ∫ of both modes: 0.4 · 2π · 0.5 + 0.6 · 2π · 0.5
    assert abs(alone.log_normalizer - np.log(np.pi)) < 4 * alone.log_normalizer_error
    for axis in AXES:
        check_equal(f"{four}.{axis}.{name}.npz", alone)


def test_two_processes_give_the_draws_of_one(alone, tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    outputs = [tmp_path / "zero.npz", tmp_path / "one.npz"]
    finished([started(2, output, address, 2, rank) for rank, output in enumerate(outputs)])
    zero, one = map(np.load, outputs)
    for name in zero.files:
        np.testing.assert_array_equal(zero[name], one[name])  # every process has all draws
    check_equal(outputs[0], alone)


@pytest.mark.parametrize(
    ("mesh", "error", "words"),
    [
        ("cpu", TypeError, ("mesh must be a jax.sharding.Mesh", "'cpu'")),
        (4, TypeError, ("mesh must be a jax.sharding.Mesh", "4")),
        (mesh_of({"x": 1}), ValueError, ("'replicates' or 'particles'", "('x',)")),
        (mesh_of({"replicates": 1, "x": 1}), ValueError, ("('replicates', 'x')",)),
        (jax.make_mesh((1,), ("particles",)), ValueError, ("type Auto", "Explicit")),
    ],
)
def test_meshes_that_are_none(mesh, error, words):
    with pytest.raises(error) as caught:
        draws_of(mesh)
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "jax.make_mesh(" in text and "AxisType.Auto" in text


def test_particles_that_do_not_divide():
    devices_of_three = np.array(jax.devices() * 3)  # only its shape is looked at
    types = {"axis_types": (AxisType.Auto,)}
    mesh = jax.sharding.Mesh(devices_of_three, ("particles",), **types)
    with pytest.raises(ValueError, match=r"3 devices along 'particles'.*64 particles.*divisor"):
        check_mesh(mesh, 64)
    check_mesh(mesh, 63)


def test_several_processes_keep_no_checkpoint(monkeypatch, tmp_path):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="checkpoint is for runs of one process"):
        rj.sample(
            jax.random.key(0), density, jnp.zeros(2), 64,
            data=DATA, method=POOLED, checkpoint=tmp_path,
        )  # fmt: skip


class Accelerator:
    """What is asked of a device."""

    platform = "gpu"

    def __init__(self, bytes_limit):
        self.bytes_limit = bytes_limit

    def memory_stats(self):
        return {"bytes_limit": self.bytes_limit}


def rows(x, data):
    return -0.5 * jnp.sum(jnp.tanh(x[None, :] - data) ** 2)


def estimate(num_rows, has_gradient=True, num_particles=1000):
    data = jnp.zeros((num_rows, 3))
    options = {"num_particles": num_particles, "has_gradient": has_gradient}
    return ensemble_bytes(rows, jnp.zeros(3), data, **options)


def test_the_estimate_sees_what_the_density_needs_per_point():
    # a gradient keeps the rows of all particles: 1,000 x 4,096 x 3 numbers of 4 bytes
    assert estimate(4096) > 4 * 1000 * 4096 * 3
    assert estimate(4096) > 20 * estimate(64)
    assert estimate(4096, num_particles=2000) > 1.5 * estimate(4096)
    assert estimate(64, has_gradient=False) <= estimate(64)


def test_accelerators_hold_as_many_ensembles_as_fit(monkeypatch):
    options = {"num_particles": 1000, "has_gradient": True}
    arguments = (rows, jnp.zeros(3), jnp.zeros((4096, 3)))
    assert automatic_chunk(*arguments, **options) == 1000  # here, on a CPU
    needed = estimate(4096)
    for memory, side in ((0.0, 1), (1.5, 1), (5.5, 5), (1e6, MOST_SIDE_BY_SIDE)):
        accelerator = Accelerator(int(memory * needed / MEMORY_SHARE))
        monkeypatch.setattr(jax, "local_devices", lambda a=accelerator: [a])
        assert automatic_chunk(*arguments, **options) == 1000 * side
