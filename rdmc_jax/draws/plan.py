"""What was planned for a run and why: its recipe, sizes that were tried, and what they cost."""

from typing import NamedTuple

from ..samplers.core import Recipe
from ..samplers.methods import RestartSizes
from ..types import Method


class Trial(NamedTuple):
    """One size of pool, measured on one ensemble of each replicate that was thrown away."""

    num_pool: int  # points of each replicate's pool
    threshold: float  # members that speak for a particle where it stops
    num_temperatures: int
    tv_bound: float
    tv_limit: float  # upper 95 % confidence limit
    finish_variance: float  # of log w: of the finish, from pairs at the same noisy point
    pool_variance: float  # of log w: the rest, of the pool that stands for the target
    evals: int  # all replicates, with those that made its pool out of the one before

    def summary(self) -> str:
        """One line."""
        return (
            f"{self.num_pool:,} points, threshold {self.threshold:g}, {self.num_temperatures} "
            f"temperatures: TV {self.tv_bound:.3f} (limit {self.tv_limit:.3f}), variance of log w "
            f"{self.finish_variance:.4f} by the finish and {self.pool_variance:.4f} by the pool, "
            f"{self.evals:,} evaluations"
        )


class LevelTrial(NamedTuple):
    """Sizes of a composition, measured on one ensemble of each replicate that was thrown away."""

    num_levels: int
    num_batches: tuple[int, ...]  # of inner samples, at each level and for the finish
    wider: int  # factor of the inner samples of one batch
    finer: int  # factor of the finish's steps
    tv_bound: float
    tv_limit: float  # upper 95 % confidence limit
    kl_bound: float
    noise_kl: tuple[float, ...]  # at each level: its part by the noise of the estimates
    rest: float  # its part by levels too far apart, start, finish, and errors that chains carry on
    level_evals: tuple[int, ...]  # of each level, and of the finish; all replicates
    evals: int  # all replicates

    def summary(self) -> str:
        """One line."""
        low, high = min(self.num_batches), max(self.num_batches)
        return (
            f"{self.num_levels} levels with {low} to {high} batches of {self.wider} times the "
            f"samples, {self.finer} times the steps of the finish: TV {self.tv_bound:.3f} "
            f"(limit {self.tv_limit:.3f}), KL {self.kl_bound:.4f} of which "
            f"{sum(self.noise_kl):.4f} by noise of the estimates, {self.evals:,} evaluations"
        )


class Accuracy(NamedTuple):
    """Request and prediction; what the reported draws then had is ``Draws.tv_limit``."""

    requested: float
    predicted: float  # limit of tv_bound of the trial chosen by it: lower than it should be
    trials: tuple[Trial | LevelTrial, ...]
    chosen: int  # index of the trial whose pool and method the reported run has
    stopped: str  # why there were no more
    certified: float = float("nan")  # `tv_limit` of the reported draws
    spent: int = 0  # evaluations, everything included

    def summary(self) -> str:
        """One line for each trial."""
        lines = [
            f"requested {self.requested:g}, predicted {self.predicted:.3f}, certified "
            f"{self.certified:.3f} for {self.spent:,} evaluations: {self.stopped}; "
            f"trial {self.chosen + 1} of {len(self.trials)} is reported"
        ]
        lines += [f"  {one.summary()}" for one in self.trials]
        return "\n".join(lines)


class Plan(NamedTuple):
    """What is run, and why; `recipe` prints as the code of the method that ran."""

    recipe: Recipe
    num_replicates: int
    reason: str  # what was chosen and why
    sizes: RestartSizes | None = None  # of the automatic method
    max_evals: float | None = None  # asked for, per output draw
    pool_sources: tuple[str, ...] = ()  # what the numbers in the pool's ``source`` stand for
    with_more_temperatures: tuple[Method, ...] = ()  # if the measured weight ESS is too low
    is_limited: bool = False  # max_evals made the sizes, or the choice of temperatures, smaller
    accuracy: Accuracy | None = None  # asked for by a tolerance, and predicted
    exchanged_pools: tuple[str, ...] = ()  # which replicates got another one's pool too, and why

    @property
    def num_particles(self) -> int:
        """Particles of one ensemble."""
        return self.recipe.num_particles

    @property
    def is_capped(self) -> bool:
        """Whether a higher ``max_evals`` would have bought more."""
        if self.accuracy is not None and "max_evals" in self.accuracy.stopped:
            return bool(self.pool_sources)
        return self.is_limited
