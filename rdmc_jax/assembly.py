"""Put the results of a run's ensembles together: one record of the draws and what they cost."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import diagnostics
from .border import inward, ravel_ensemble
from .core import Plan, Prepared, Result
from .coverage import Coverage, coverage
from .draws import Draws
from .limits import kl_limit, tv_limit
from .types import ArrayTree, Evaluations


def shares_of(num_samples: int, plan: Plan) -> list[int]:
    """Draws of each replicate: equal, the last takes the rest of the division.

    Where its ensembles do not hold so many, the last ones take one more each.
    """
    each, rest = divmod(num_samples, plan.num_replicates)
    shares = [each] * plan.num_replicates
    if each + rest <= plan.num_ensembles * plan.num_particles:
        shares[-1] += rest
        return shares
    return shares[:-rest] + [each + 1] * rest


def _coverage(
    position: ArrayTree, log_weight: np.ndarray, replicate: np.ndarray, prepares: list[Prepared]
) -> Coverage:
    """Of the generators of the pools, averaged over the replicates that have draws."""
    x = ravel_ensemble(position)
    found = []
    for label in np.unique(replicate):
        one, is_own = prepares[label], replicate == label
        u = np.asarray(inward(one.location, one.scale, x[is_own]))
        w = diagnostics.relative_weights(log_weight[is_own])
        pool = one.pool
        found.append(coverage(u, w / np.sum(w), pool.position, pool.log_weight, pool.origin))
    return Coverage(
        np.mean([one.unseen for one in found], axis=0), float(np.mean([one.alone for one in found]))
    )


def assemble(
    parts: list[tuple[int, Result]],
    prepares: list[Prepared],
    discarded: list[Result],
    num_samples: int,
    plan: Plan,
    complete: bool,
    seconds: float,
) -> Draws:
    """Put the ensembles' results together."""
    shares = shares_of(num_samples, plan)
    left = list(shares)
    positions, weights, replicates = [], [], []
    for replicate, result in parts:
        take = min(left[replicate], result.log_weight.shape[0])
        left[replicate] -= take
        positions.append(jax.tree.map(lambda leaf, take=take: leaf[:take], result.position))
        weights.append(result.log_weight[:take])
        replicates.append(np.full(take, replicate, np.int32))
    position = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *positions)
    log_weight, labels = np.concatenate(weights), np.concatenate(replicates)
    weighted = not bool(np.all(np.isnan(log_weight)))
    broken = np.isnan(log_weight) & weighted
    log_weight = np.where(broken, -np.inf, log_weight) if weighted else np.zeros_like(log_weight)
    infos = [result.info for _, result in parts]

    def total(counts: list[Any]) -> int:
        return int(sum(int(np.sum(np.asarray(c, np.int64))) for c in counts))

    pools = [one.pool for one in prepares]
    seen = _coverage(position, log_weight, labels, prepares) if weighted else None
    spent = infos + [result.info for result in discarded]
    counts = [i.num_evals for i in spent] + [p.num_evals for p in pools]
    evals = Evaluations(
        total([count.logdensity for count in counts]), total([count.gradient for count in counts])
    )
    bad = total([i.num_nonfinite for i in spent] + [p.num_nonfinite for p in pools])
    mean = jax.tree.map(lambda *leaves: np.mean(np.stack(leaves), axis=0), *infos)
    counts_of = [(info.num_evals, info.num_nonfinite) for info in infos]
    evaluated, nonfinite = jax.tree.map(
        lambda *leaves: np.sum(np.stack(leaves), axis=0, dtype=np.int64), *counts_of
    )
    mean = mean._replace(num_evals=evaluated, num_nonfinite=nonfinite)
    ranges = np.abs(np.stack([one.logdensity_range for one in prepares]))
    largest = float(np.max(np.where(np.isfinite(ranges), ranges, 0.0)))
    nan = float("nan")
    certified = tv_limit(log_weight, labels).upper if weighted else nan
    if plan.accuracy is not None:
        met = plan.accuracy._replace(certified=certified, spent=max(evals))
        plan = plan._replace(accuracy=met)
    return Draws(
        position=position,
        log_weight=jnp.asarray(log_weight),
        replicate=jnp.asarray(labels),
        info=mean,
        log_normalizer=diagnostics.log_mean_exp(log_weight) if weighted else nan,
        log_normalizer_error=(
            diagnostics.log_normalizer_error(log_weight, labels) if weighted else nan
        ),
        tv_bound=diagnostics.tv_bound(log_weight) if weighted else nan,
        kl_bound=diagnostics.kl_bound(log_weight) if weighted else nan,
        tv_limit=certified,
        kl_limit=kl_limit(log_weight, labels).upper if weighted else nan,
        num_evals=evals,
        num_nonfinite=bad,
        plan=plan,
        complete=complete,
        weighted=weighted,
        seconds=seconds,
        largest_logdensity=largest,
        coverage=seen,
        num_broken=int(np.sum(broken)),
    )
