"""Reverse diffusion Monte Carlo in JAX: draws, weights and log Z without training.

Who only samples needs `sample` and `Draws`. Beside it: `sample_many` (one program for many data
sets), `forecast` (what a run will need), `paper` (the published algorithm), `plan` and `core` (a
run as a pure function, for `jax.jit` and `jax.vmap`), and `rdmc`, which composes methods from parts
that lie in namespaces:

- `kernels`: Markov kernels for one chain, `ula`, `mala`, `uld`, `hmc`, `random_walk`;
- `diffusion`: noising processes, grids of times, transitions between levels;
- `estimators`: moments of the denoising posterior, by importance sampling or chains;
- `pools`: where the mass is: pilots and pools of points;
- `samplers`: starts, levels and finishes, and the methods that have a name;
- `bijections`: densities on boxes and half-lines;
- `problems`, `metrics`: targets with exact truth, distances between weighted draws;
- `plots`, `interop`: pictures of draws; NumPyro and ArviZ.
"""

from . import diffusion, interop, metrics, plots, pools, problems, samplers
from .diffusion import estimators
from .draws.draws import Draws
from .draws.plan import Plan
from .montecarlo import kernels
from .planning.defaults import plan
from .runs.forecast import forecast
from .runs.many import ManyDraws, sample_many
from .samplers.core import core
from .samplers.sampler import rdmc
from .sampling import paper, sample
from .target import bijections
from .types import RDMCWarning

__all__ = [
    "Draws",
    "ManyDraws",
    "Plan",
    "RDMCWarning",
    "bijections",
    "core",
    "diffusion",
    "estimators",
    "forecast",
    "interop",
    "kernels",
    "metrics",
    "paper",
    "plan",
    "plots",
    "pools",
    "problems",
    "rdmc",
    "sample",
    "sample_many",
    "samplers",
]
