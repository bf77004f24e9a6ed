"""What was asked of a run's accuracy, what its pilots predicted, and what that cost."""

from typing import NamedTuple


class Generation(NamedTuple):
    """One size of pool, measured on one ensemble of each replicate that was thrown away."""

    num_pool: int  # points of each replicate's pool
    threshold: float  # members that speak for a particle where it stops
    num_temperatures: int
    tv_bound: float
    tv_limit: float  # upper 95 % confidence limit
    finish_variance: float  # of log w: of the finish, from pairs at the same noisy point
    pool_variance: float  # of log w: the rest, of the pool that stands for the target
    evals: int  # all replicates, with those that made its pool out of the one before


class Accuracy(NamedTuple):
    """Request and prediction; what the reported draws then had is ``Draws.tv_limit``."""

    requested: float
    predicted: float  # limit of tv_bound of the generation chosen by it: lower than it should be
    generations: tuple[Generation, ...]
    chosen: int  # index of the generation whose pool and method the reported run has
    stopped: str  # why there were no more

    def summary(self) -> str:
        """One line for each generation."""
        lines = [
            f"requested {self.requested:g}, predicted {self.predicted:.3f}: {self.stopped}; "
            f"generation {self.chosen + 1} of {len(self.generations)} is reported"
        ]
        lines += [
            f"  {one.num_pool:,} points, threshold {one.threshold:g}, {one.num_temperatures} "
            f"temperatures: TV {one.tv_bound:.3f} (limit {one.tv_limit:.3f}), variance of log w "
            f"{one.finish_variance:.4f} by the finish and {one.pool_variance:.4f} by the pool, "
            f"{one.evals:,} evaluations"
            for one in self.generations
        ]
        return "\n".join(lines)
