"""Settings of the whole suite: shapes must match without help from silent broadcasting."""

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
