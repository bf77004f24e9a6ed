"""Settings of the whole suite.

Shapes must match without help from silent broadcasting. Compiled programs are shared by the workers
and the processes that tests start, in a folder that lives as long as the session.
"""

import os
import shutil
import tempfile

import jax
import pytest

FOLDER, SECONDS = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
OWN = FOLDER not in os.environ
if OWN:  # in the first process only: workers and subprocesses inherit it
    os.environ[FOLDER], os.environ[SECONDS] = tempfile.mkdtemp(prefix="rdmc_jax_programs_"), "0.5"
    jax.config.update("jax_compilation_cache_dir", os.environ[FOLDER])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", float(os.environ[SECONDS]))

jax.config.update("jax_numpy_rank_promotion", "raise")

# doctests are collected from modules, and there can be only one module of this name
collect_ignore_glob = ["*conftest.py"]


def pytest_unconfigure():
    if OWN:
        shutil.rmtree(os.environ[FOLDER], ignore_errors=True)


# files that run one program, the automatic method on the density of api_targets.py
ONE_PROGRAM = ("checkpoint", "defaults", "diagnostics", "draws", "findings", "hard_edges")
ONE_PROGRAM += ("refusals", "retraces", "tolerance")


def pytest_collection_modifyitems(items):
    """A worker takes whole files (fixtures are made once), and all files of one program."""
    shared = {f"test_{name}.py" for name in ONE_PROGRAM}
    for item in items:
        file = item.nodeid.split("::")[0]
        is_shared = item.path.parent.name == "api" and item.path.name in shared
        item.add_marker(pytest.mark.xdist_group("api" if is_shared else file))
