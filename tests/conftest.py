"""Settings of the whole suite: shapes must match without help from silent broadcasting."""

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")

# doctests are collected from modules, and there can be only one module of this name
collect_ignore_glob = ["*conftest.py"]
