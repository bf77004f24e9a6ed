"""Other samplers on the same problems: blackjax's, tuned, with a broad start given to them.

Each has a ``run(key, target, num_samples, size, parameters)``, whose cost grows with ``size``, and
a ``tune(key, target, num_samples)``, which returns the parameters and is not counted.
"""

from typing import Any, NamedTuple

from benchmarks.baselines import langevin, nested, nuts, parallel, tempered
from benchmarks.baselines.target import Result, Target, make_target


class Baseline(NamedTuple):
    """A sampler, its tuning, and its sizes, the cheapest first."""

    run: Any
    tune: Any
    sizes: tuple[Any, ...]
    is_static: bool = False
    """Whether each size is a program of its own."""


def untuned(key, target, num_samples):
    return None


BASELINES = {
    "ULA": Baseline(langevin.ula, langevin.tuned_step, langevin.SIZES, True),
    "underdamped": Baseline(langevin.underdamped, langevin.tuned_step, langevin.SIZES, True),
    "MALA": Baseline(langevin.mala, langevin.tuned_step, langevin.SIZES, True),
    "NUTS": Baseline(nuts.nuts, nuts.tuned, nuts.SIZES, True),
    "SMC MALA": Baseline(tempered.smc_mala, untuned, tempered.SIZES, True),
    "SMC HMC": Baseline(tempered.smc_hmc, untuned, tempered.HMC_SIZES, True),
    "nested slice": Baseline(nested.nested, untuned, nested.SIZES, True),
    "parallel tempering": Baseline(parallel.parallel_tempering, parallel.tuned, parallel.SIZES),
}

__all__ = ["BASELINES", "Baseline", "Result", "Target", "make_target", "untuned"]
