"""ArviZ: equally weighted draws as an InferenceData (ArviZ 0.x) or a DataTree (ArviZ 1.x)."""

import importlib.util
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..draws.draws import Draws
from ..montecarlo.resampling import comb
from ..montecarlo.weights import log_mean_exp, relative_weights
from ..types import ArrayTree, PRNGKey


def _named(position: ArrayTree) -> dict[str, np.ndarray]:
    """Name leaves by their path in the tree; a bare array is called x."""
    leaves = jax.tree_util.tree_leaves_with_path(position)
    return {
        jax.tree_util.keystr(path, simple=True, separator=".") or "x": np.asarray(leaf)
        for path, leaf in leaves
    }


def to_arviz(
    draws: Draws,
    constrain: Callable[[ArrayTree], ArrayTree] | None = None,
    rng_key: PRNGKey | None = None,
) -> Any:
    """Export equally weighted draws to ArviZ: chain = replicate, draw = particle.

    Each replicate is resampled by its weights to the size of the smallest one. A replicate without
    any weight is left out. ArviZ counts chains equally. ``draws.expectation`` weighs replicates by
    their estimates of Z, which is more accurate; ``log_evidence_by_chain`` has these estimates.
    Diagnostics for Markov chains (R-hat, bulk ESS) mean little for such draws: see
    ``draws.check()``.

    Args:
        draws: draws of a run.
        constrain: map of one position, such as ``from_numpyro(...).constrain``; None for none.
        rng_key: key of the resampling; ``jax.random.key(0)`` by default.

    Returns:
        ``arviz.InferenceData`` (ArviZ 0.x) or ``xarray.DataTree`` (ArviZ 1.x), with the log weights
        before resampling in ``sample_stats`` and log Z, its error and the bounds as attributes.

    Raises:
        ImportError: without ArviZ.
        ValueError: if no draw has any weight.
    """
    key = jax.random.key(0) if rng_key is None else rng_key
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    position = draws.position
    if constrain is not None:
        position = jax.lax.map(constrain, position, batch_size=1000)
    log_weight, replicate = np.asarray(draws.log_weight), np.asarray(draws.replicate)
    parts = [np.flatnonzero(replicate == label) for label in np.unique(replicate)]
    parts = [part for part in parts if np.any(log_weight[part] > -np.inf)]
    if not parts:
        raise ValueError(
            "no draw has any weight, so there is no posterior to export. See draws.check()."
        )
    count = min(part.size for part in parts)
    # systematic resampling within each replicate, in random order
    chosen = [comb(relative_weights(log_weight[part]), count, rng.uniform()) for part in parts]
    index = np.stack([part[rng.permutation(one)] for part, one in zip(parts, chosen, strict=True)])
    posterior = {name: leaf[index] for name, leaf in _named(position).items()}
    attributes = {
        "inference_library": "rdmc_jax",
        "inference_library_version": importlib.metadata.version("rdmc_jax"),
        "jax_version": jax.__version__,
        "log_evidence": draws.log_normalizer,
        "log_evidence_se": draws.log_normalizer_error,
        "tv_bound": draws.tv_bound,
        "kl_bound": draws.kl_bound,
        "weight_ess": draws.ess,
        "complete": int(draws.complete),
        "log_evidence_by_chain": [log_mean_exp(log_weight[part]) for part in parts],
        "config": json.dumps({"reason": draws.plan.reason, "num_samples": draws.num_samples}),
    }
    groups = {"posterior": posterior, "sample_stats": {"log_weight": log_weight[index]}}
    return _from_groups(_library(), groups, attributes)


def _library() -> Any:
    """Import ArviZ, or the package of ArviZ 1.x that holds data."""
    found = importlib.util.find_spec("arviz")
    return importlib.import_module("arviz_base" if found is None else "arviz")


def _from_groups(library: Any, groups: dict[str, Any], attributes: dict[str, Any]) -> Any:
    """Make the object of ArviZ 1.x, or of 0.x, which took the groups as keywords."""
    if library.__name__ == "arviz" and int(library.__version__.split(".")[0]) < 1:
        return library.from_dict(**groups, posterior_attrs=attributes)
    made = library.from_dict(groups, attrs={"/": attributes})
    made["posterior"].attrs.update(attributes)
    return made
