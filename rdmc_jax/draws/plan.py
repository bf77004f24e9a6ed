"""The plan of a run: its recipe, the reason for it, and the sizes that were tried."""

from typing import NamedTuple

from ..samplers.core import Recipe
from ..samplers.methods import MixtureSizes


class Trial(NamedTuple):
    """Sizes of mixture draws, measured on discarded draws of all replicates."""

    num_candidates: int
    num_temperatures: int
    relative_variance: float  # χ² = N Σw²/(Σw)² - 1 of the weights
    ess: float  # effective draws of the trial
    pareto_k: float  # tail of the weights
    tv_bound: float
    tv_limit: float  # upper 95 % confidence limit
    evals: int  # of all replicates; 0 for draws that the fit has paid
    is_restart: bool = False  # from the noised pool, not from the mixture

    def summary(self) -> str:
        """One line."""
        return (
            f"{self.num_candidates} candidates, {self.num_temperatures} temperatures"
            f"{' from the noised pool' if self.is_restart else ''}: "
            f"TV {self.tv_bound:.3f} (limit {self.tv_limit:.3f}), relative variance of the weights "
            f"{self.relative_variance:.2g}, Pareto k {self.pareto_k:.2f}, "
            f"{self.evals:,} evaluations"
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
    sizes: MixtureSizes | None = None  # of the automatic method
    max_evals: float | None = None  # cap on all evaluations of the run
    pool_sources: tuple[str, ...] = ()  # what the numbers in the pool's ``source`` stand for
    is_limited: bool = False  # max_evals made the sizes, candidates or temperatures fewer
    trials: tuple[Trial | LevelTrial, ...] = ()  # discarded draws that decided the sizes
    accuracy: Accuracy | None = None  # only with a tolerance
    exchanged_pools: tuple[str, ...] = ()  # searches that differed, in words
    search_evals: float | None = None  # asked of all pilots together

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
