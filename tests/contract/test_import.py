"""Importing changes nothing: no configuration, no optional package."""

import os
import pathlib
import subprocess
import sys

import rdmc_jax

SCRIPT = """
import jax
before = dict(jax.config.values)
import sys
import rdmc_jax
assert dict(jax.config.values) == before, "the configuration changed"
assert not jax.config.jax_enable_x64
optional = "matplotlib tqdm blackjax numpyro arviz ot scipy sklearn tensorflow_probability"
found = [name for name in optional.split() if name in sys.modules]
print(" ".join(found))
missing = [name for name in rdmc_jax.__all__ if not hasattr(rdmc_jax, name)]
assert not missing, missing
"""


def test_import_is_pure():
    root = str(pathlib.Path(rdmc_jax.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split())
    # scipy comes with jax itself
    assert loaded - {"scipy"} == set(), loaded
