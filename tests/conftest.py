"""Settings of the whole suite.

Shapes must match without help from silent broadcasting. Most programs here take longer to compile
than to run: they are compiled fast rather than well, and shared by the workers and the processes
that tests start, in a folder that lives as long as the session.
"""

import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import jax
import pytest

ROOT = pathlib.Path(__file__).parents[1]
FAST = "JAX_DISABLE_MOST_OPTIMIZATIONS"
FOLDER, SECONDS = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
OWN = FOLDER not in os.environ
if OWN:  # in the first process only: workers and subprocesses inherit it
    os.environ[FOLDER], os.environ[SECONDS] = tempfile.mkdtemp(prefix="rdmc_jax_programs_"), "0.5"
    jax.config.update("jax_compilation_cache_dir", os.environ[FOLDER])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", float(os.environ[SECONDS]))

# halves what is left of compilation; a version of XLA that does not know a flag ends the process
FLAG = "--xla_cpu_use_fusion_emitters=false"
if OWN and FLAG not in os.environ.get("XLA_FLAGS", ""):
    flags = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}".strip()
    trial = [sys.executable, "-c", "import jax; jax.devices('cpu')"]
    if not subprocess.run(
        trial, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, check=False
    ).returncode:
        os.environ["XLA_FLAGS"] = flags

os.environ[FAST] = "1"  # inherited, as the folder is
jax.config.update(FAST.lower(), True)
jax.config.update("jax_numpy_rank_promotion", "raise")

pytest_plugins = ["shared_runs"]  # a module of its own: targets need the settings above

# doctests are collected from modules, and there can be only one module of this name
collect_ignore_glob = ["*conftest.py"]


def pytest_unconfigure():
    if OWN:
        shutil.rmtree(os.environ[FOLDER], ignore_errors=True)


@functools.cache
def runs_the_one_program(file):
    """Whether a file is marked: its tests run the automatic method on the density of targets.py."""
    return "pytestmark = pytest.mark.one_program" in (ROOT / file).read_text("utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A worker takes whole files (fixtures are made once), and all files of one program."""
    from xdist.scheduler import LoadFileScheduling

    class ByProgram(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "one program" if runs_the_one_program(file) else file

    return ByProgram(config, log)
