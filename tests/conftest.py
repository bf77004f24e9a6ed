"""Settings of the whole suite.

Shapes must match without help from silent broadcasting. Compiled programs are shared by the workers
and the processes that tests start, in a folder that lives as long as the session.
"""

import os
import shutil
import tempfile

FOLDER = "JAX_COMPILATION_CACHE_DIR"
OWN = FOLDER not in os.environ
if OWN:  # in the first process only: workers and subprocesses inherit it
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="rdmc_jax_programs_")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"

import jax  # noqa: E402  (reads the variables above)

jax.config.update("jax_numpy_rank_promotion", "raise")

# doctests are collected from modules, and there can be only one module of this name
collect_ignore_glob = ["*conftest.py"]


def pytest_unconfigure():
    if OWN:
        shutil.rmtree(os.environ[FOLDER], ignore_errors=True)
