"""The plan of a run: its recipe, the reason for it, and the sizes that were tried."""

from typing import NamedTuple

from ..samplers.core import Recipe
from ..samplers.methods import RestartSizes
from ..types import Method


class Trial(NamedTuple):
    """Sizes of a restart, measured on one discarded ensemble of each replicate."""

    num_pool: int  # points of each replicate's pool
    threshold: float  # effective number of pool points that a particle's noise covers
    num_temperatures: int
    tv_bound: float
    tv_limit: float  # upper 95 % confidence limit
    finish_variance: float  # part of Var log w that the finish adds, from pairs at one noisy point
    pool_variance: float  # the rest of it, added by the pool that approximates the target
    evals: int  # of all replicates, with those that enlarged the pool

    def summary(self) -> str:
        """One line."""
        return (
            f"pool of {self.num_pool:,} points, noise that covers {self.threshold:g} of them, "
            f"{self.num_temperatures} temperatures: TV {self.tv_bound:.3f} (limit "
            f"{self.tv_limit:.3f}), variance of log w {self.finish_variance:.4f} from the finish "
            f"and {self.pool_variance:.4f} from the pool, {self.evals:,} evaluations"
        )


class LevelTrial(NamedTuple):
    """Sizes of a composition, measured on one discarded ensemble of each replicate."""

    num_levels: int
    num_batches: tuple[int, ...]  # of inner samples, at each level and for the finish
    wider: int  # factor on the inner samples of one batch
    finer: int  # factor on the finish's steps
    tv_bound: float
    tv_limit: float  # upper 95 % confidence limit
    kl_bound: float
    noise_kl: tuple[float, ...]  # at each level: part of kl_bound from the noise of the estimates
    rest: float  # the other part: levels too far apart, start, finish, errors that chains carry on
    level_evals: tuple[int, ...]  # of each level, and of the finish; all replicates
    evals: int  # of all replicates

    def summary(self) -> str:
        """One line."""
        low, high = min(self.num_batches), max(self.num_batches)
        return (
            f"{self.num_levels} levels with {low} to {high} batches of {self.wider} times the "
            f"samples, {self.finer} times the steps of the finish: TV {self.tv_bound:.3f} "
            f"(limit {self.tv_limit:.3f}), KL {self.kl_bound:.4f} (noise of the estimates: "
            f"{sum(self.noise_kl):.4f}), {self.evals:,} evaluations"
        )


class Accuracy(NamedTuple):
    """What a tolerance asked for, what the trials predicted, and what the reported draws have."""

    requested: float
    predicted: float  # lowest tv_limit of the trials: a minimum, so it is biased low
    trials: tuple[Trial | LevelTrial, ...]
    chosen: int  # index of the trial whose pool and method the reported run has
    stopped: str  # why there were no more trials
    certified: float = float("nan")  # ``Draws.tv_limit`` of the reported draws
    spent: int = 0  # evaluations of the whole run

    def summary(self) -> str:
        """One line for each trial."""
        lines = [
            f"total variation of {self.requested:g} requested, {self.predicted:.3f} predicted, "
            f"{self.certified:.3f} certified with 95 % confidence, for {self.spent:,} evaluations "
            f"({self.stopped}; the run has the sizes of trial {self.chosen + 1} of "
            f"{len(self.trials)})"
        ]
        lines += [f"  {one.summary()}" for one in self.trials]
        return "\n".join(lines)


class Plan(NamedTuple):
    """What a run does, and why; `recipe` prints as the code of the method that ran."""

    recipe: Recipe
    num_replicates: int
    reason: str  # what was chosen and why
    sizes: RestartSizes | None = None  # of the automatic method
    max_evals: float | None = None  # cap on evaluations per output draw
    pool_sources: tuple[str, ...] = ()  # what the numbers in the pool's ``source`` stand for
    with_more_temperatures: tuple[Method, ...] = ()  # if the measured weight ESS is too low
    is_limited: bool = False  # max_evals made the sizes, or the choice of temperatures, smaller
    accuracy: Accuracy | None = None  # only with a tolerance
    exchanged_pools: tuple[str, ...] = ()  # which replicates received another one's pool, and why

    @property
    def num_particles(self) -> int:
        """Particles of one ensemble."""
        return self.recipe.num_particles

    @property
    def is_capped(self) -> bool:
        """Whether a higher ``max_evals`` would have allowed larger sizes."""
        if self.accuracy is not None and "max_evals" in self.accuracy.stopped:
            return bool(self.pool_sources)
        return self.is_limited
