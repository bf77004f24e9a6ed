"""What a density refers to by name is part of what it is."""

import importlib
import subprocess
import sys

import pytest

from rdmc_jax.runs.described import described, digest
from rdmc_jax.runs.references import is_own

MODEL = """
import dataclasses
import functools
import jax.numpy as jnp
import numpy as np
import scales

WIDTH = 2.0
CENTER = np.zeros(3)
NAMES = frozenset({"left", "right", "middle"})
OPTIONS = {"width": 1.5, "calls": 0}
COUNT = 0


def helper(x):
    return deeper(x) / WIDTH


def deeper(x):
    return x - 1.0 if "left" in {"left", "right", "up"} else helper(x)


def density(x):
    global COUNT
    COUNT += 1
    OPTIONS["calls"] += 1
    gaps = jnp.sum((helper(x) - CENTER) ** 2)
    return -0.5 * gaps / scales.scale(OPTIONS["width"]) ** 2 + len(NAMES)


@dataclasses.dataclass(frozen=True)
class Model:
    width: float

    def __call__(self, x):
        return self.term(x) / self.width

    def term(self, x):
        return -jnp.sum(helper(x) ** 2)


def with_width(width, x):
    return density(x) / width


def enclosed(inner):
    return lambda x: inner(x)


part = functools.partial(with_width, 3.0)
model = Model(3.0)
method = Model(3.0).term
closure = enclosed(helper)
"""
SCALES = """
from jax.numpy import sqrt

def scale(width):
    return sqrt(width)

def unused(width):
    return width
"""
NAMES = ("density", "part", "model", "method", "closure")
CODE = """
import jax
import numpyro.distributions as dist
from numpyro import sample
from rdmc_jax.runs.described import described, digest
from rdmc_jax.interop.numpyro import from_numpyro
import model
model.density(1.0)  # counters are not what is described
print(*(digest(described(getattr(model, name))) for name in {names}))
parts = from_numpyro(lambda: sample("mu", dist.Normal(0, 3)), jax.random.key(0))
print(digest(described(parts.logdensity_fn)))
"""
CHANGES = {
    "a number": ("model", "WIDTH = 2.0", "WIDTH = 2.5", set(NAMES)),
    "an array": ("model", "np.zeros(3)", "np.array([0.0, 0.0, 1.0])", {"density", "part"}),
    "a set": ("model", '"middle"', '"center"', {"density", "part"}),
    "an option": ("model", '"width": 1.5', '"width": 1.6', {"density", "part"}),
    "a helper's helper": ("model", "x - 1.0", "x - 1.5", set(NAMES)),
    "a module's function": ("scales", "sqrt(width)", "2.0 * sqrt(width)", {"density", "part"}),
    "a method": ("model", "-jnp.sum(helper", "jnp.sum(helper", {"model", "method"}),
    "a field": ("model", "model = Model(3.0)", "model = Model(4.0)", {"model"}),
    "a bound object": ("model", "method = Model(3.0)", "method = Model(4.0)", {"method"}),
    "an argument": ("model", "with_width, 3.0", "with_width, 4.0", {"part"}),
    "nothing": ("model", "COUNT = 0", "COUNT = 7", set()),
    "what is not used": ("scales", "return width", "return 2 * width", set()),
    "a comment": ("model", "def helper", "# of mine\n\n\ndef helper", set()),
}


@pytest.fixture
def digests(tmp_path, monkeypatch):
    """Digests of the densities in a module's source, imported anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def of(model=MODEL, scales=SCALES):
        for name, text in (("model", model), ("scales", scales)):
            (tmp_path / f"{name}.py").write_text(text)
            sys.modules.pop(name, None)
        is_own.cache_clear()
        importlib.invalidate_caches()
        found = importlib.import_module("model")
        return {name: digest(described(getattr(found, name))) for name in NAMES}

    yield of
    for name in ("model", "scales"):
        sys.modules.pop(name, None)
    is_own.cache_clear()


def test_what_changed_is_seen_and_what_did_not_is_not(digests):
    sources = {"model": MODEL, "scales": SCALES}
    before = digests()
    for what, (module, old, new, changed) in CHANGES.items():
        assert old in sources[module], what
        after = digests(**{**sources, module: sources[module].replace(old, new, 1)})
        assert {name for name in NAMES if before[name] != after[name]} == changed, what


def test_other_processes_say_the_same_whatever_their_hashes(digests, tmp_path):
    own, bridges = digests(), set()
    for seed in ("1", "2"):
        paths = ":".join([str(tmp_path), *sys.path])
        environment = {"PYTHONPATH": paths, "PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-c", CODE.format(names=NAMES)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        *found, bridge = done.stdout.split()
        assert found == list(own.values())
        bridges.add(bridge)
    assert len(bridges) == 1
