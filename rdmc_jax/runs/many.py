"""`sample_many`: many posteriors of one shape in one compiled program."""

import dataclasses
import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..draws.findings import LOW_ESS, LOW_ESS_SHARE
from ..draws.plan import Plan
from ..montecarlo.weights import log_mean_exp, log_normalizer_error, weight_ess
from ..planning import defaults
from ..samplers.core import EnsembleResult, Recipe, core
from ..samplers.sampler import check_method
from ..target.checks import any_has_gradient, as_count, checked_many, shown, typed_key
from ..target.flat import dimension
from ..target.programs import compiled
from ..types import ArrayTree, Evaluations, Finding, LogDensityFn, Method, PRNGKey, RDMCWarning


@functools.partial(jax.tree_util.register_dataclass, meta_fields=["plan"], data_fields=[
    "position", "log_weight", "log_normalizer", "log_normalizer_error", "ess", "num_evals",
    "num_nonfinite",
])  # fmt: skip
@dataclasses.dataclass(frozen=True)
class ManyDraws:
    """Weighted draws of many targets; ``len`` and ``[k]`` are over them.

    Each target has only one pool, so the error of its log Z comes from its own weights alone.
    `sample` has replicates to check it.
    """

    position: ArrayTree  # leading axes (num_datasets, num_samples)
    log_weight: np.ndarray  # (num_datasets, num_samples)
    log_normalizer: np.ndarray  # (num_datasets,)
    log_normalizer_error: np.ndarray  # (num_datasets,) one standard error, from the weights
    ess: np.ndarray  # (num_datasets,) effective sample size of the weights
    num_evals: Evaluations  # (num_datasets,) each, pilot included
    num_nonfinite: np.ndarray  # (num_datasets,)
    plan: Plan

    def __len__(self) -> int:
        return int(self.ess.shape[0])

    def __getitem__(self, index: Any) -> "ManyDraws":
        """One data set (without the leading axis), or several by a slice or an array."""
        return jax.tree.map(lambda leaf: leaf[index], self)

    def findings(self) -> list[Finding]:
        """List R103, with the data sets whose weights have too few effective draws."""
        num = self.log_weight.shape[-1]
        ess = np.atleast_1d(self.ess)
        low = np.flatnonzero((ess < min(LOW_ESS, 0.5 * num)) | (ess < LOW_ESS_SHARE * num))
        if not low.size:
            return []
        text = (
            f"{low.size} of {ess.size} data sets have too few effective draws (the worst "
            f"{np.min(ess):.0f} of {num}): {shown(low)}. Run sample() on each of these."
        )
        return [Finding("R103", text)]

    def check(self) -> list[Finding]:
        """Warn about each finding (`RDMCWarning`) and return them all."""
        found = self.findings()
        for code, message in found:
            warnings.warn(f"[{code}]: {message}", RDMCWarning, stacklevel=2)
        return found


@functools.partial(compiled, static=("recipe",))
def _several(
    rng_keys: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    *,
    recipe: Recipe,
) -> EnsembleResult:
    def one(key: PRNGKey, own: Any) -> EnsembleResult:
        return core(key, logdensity_fn, position, own, plan=recipe)

    return jax.vmap(one)(rng_keys, data)


def _num_datasets(data: Any) -> int:
    leaves = jax.tree_util.tree_leaves_with_path(data)
    shapes = {jax.tree_util.keystr(path) or "data": jnp.shape(leaf) for path, leaf in leaves}
    counts = {shape[0] if shape else 0 for shape in shapes.values()}
    if len(counts) != 1 or counts == {0}:
        raise ValueError(
            "data must have the data sets along a leading axis of one length in all leaves, but "
            f"their shapes are {shapes}. Stack data sets of one shape with jnp.stack; what they "
            "share belongs into the density."
        )
    return counts.pop()


def sample_many(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    *,
    num_samples: int = 1000,
    method: Method | None = None,
    max_evals: float | None = None,
    chunk_size: int | None = None,
) -> ManyDraws:
    """Draw weighted samples of one posterior for each of many data sets of the same shape.

    All data sets share one program. Data set k is run with key ``fold_in(rng_key, k)``, for all
    sizes of chunks. Unlike `sample`, it does not add candidates or temperatures for data sets that
    need them: see `ManyDraws.check`. Gradients are taken if the density of any data set has one.

    Args:
        rng_key: ``jax.random.key(0)``.
        logdensity_fn: ``logdensity_fn(position, data)`` for one data set.
        position: example position.
        data: PyTree with the data sets along the leading axis of all leaves.
        num_samples: draws of each data set; whole ensembles are run, and the rest is cut off.
        method: explicit composition, or None for the automatic choice.
        max_evals: cap on all evaluations of one data set, for the automatic choice.
        chunk_size: data sets that run side by side: 1 by default on CPUs, 32 on accelerators.

    Returns:
        `ManyDraws`, on the host.

    Raises:
        TypeError: as `sample`.
        ValueError: as `sample`, naming the data sets, and for data without a common leading axis.

    >>> import rdmc_jax as rj
    >>> density = lambda x, data: -0.5 * jnp.sum((x - data) ** 2)
    >>> small = rj.rdmc(rj.samplers.gaussian_start(num_particles=64),
    ...     rj.samplers.levels(
    ...         rj.diffusion.log_snr_grid(3), rj.estimators.importance(num_samples=8)),
    ...     rj.samplers.gaussian_finish())
    >>> draws = sample_many(jax.random.key(0), density, jnp.zeros(1), jnp.array([3.0, -20.0]),
    ...                     num_samples=50, method=small)
    >>> len(draws), draws[1].position.shape
    (2, (50, 1))
    """
    check_method(method, max_evals)
    key, num_samples, num = typed_key(rng_key), as_count(num_samples), _num_datasets(data)
    if chunk_size is None:
        chunk_size = 1 if jax.default_backend() == "cpu" else 32
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1 data set, but got {chunk_size}.")
    data = jax.tree.map(jnp.asarray, data)
    position = checked_many(logdensity_fn, position, data)
    can_climb = any_has_gradient(logdensity_fn, position, data)
    plan = defaults.plan(
        dim=dimension(position),
        num_samples=num_samples,
        num_replicates=1,
        method=method,
        max_evals=max_evals,
        pilot=defaults.default_pilot(can_climb),
        has_gradient=can_climb,
    )
    size = min(chunk_size, num)
    parts = []
    for start in range(0, num, size):
        # the last chunk repeats data sets, so that it needs no program of its own
        index = np.minimum(np.arange(start, start + size), num - 1)
        keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.asarray(index))
        chunk = jax.tree.map(lambda leaf, index=index: leaf[index], data)
        found = jax.device_get(_several(keys, logdensity_fn, position, chunk, recipe=plan.recipe))
        keep = min(size, num - start)
        parts.append(jax.tree.map(lambda leaf, keep=keep: leaf[:keep], found))
    result = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    log_weight = result.log_weight[:, :num_samples]
    is_weighted = not np.all(np.isnan(log_weight))
    log_weight = np.where(np.isnan(log_weight), -np.inf if is_weighted else 0.0, log_weight)
    info = result.info
    one_pool = np.zeros(num_samples, np.int32)
    nan = np.full(num, np.nan)
    return ManyDraws(
        position=jax.tree.map(lambda leaf: leaf[:, :num_samples], result.position),
        log_weight=log_weight,
        log_normalizer=(
            np.array([log_mean_exp(one) for one in log_weight]) if is_weighted else nan
        ),
        log_normalizer_error=(
            np.array([log_normalizer_error(one, one_pool) for one in log_weight])
            if is_weighted
            else nan
        ),
        ess=np.array([weight_ess(one) for one in log_weight]),
        num_evals=Evaluations(*(np.sum(count, axis=1) for count in info.num_evals)),
        num_nonfinite=np.sum(info.num_nonfinite, axis=1),
        plan=plan,
    )
