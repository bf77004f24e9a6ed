"""NumPyro models: sampled on the unconstrained space, returned as constrained sites."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..draws.draws import Draws
from ..sampling import sample as sample_density
from ..types import Array, ArrayTree, LogDensityFn, PRNGKey, memoised

CHUNK = 1000
"""Draws that are constrained at a time."""


class NumpyroTarget(NamedTuple):
    """A model as `rdmc_jax.sample` takes it."""

    logdensity_fn: LogDensityFn  # (position, data), unconstrained, Jacobian included
    position: dict[str, Array]
    data: Any  # the arrays among the model's arguments
    constrain: Callable[[ArrayTree], dict[str, Array]]  # of one position, deterministic sites too


class NumpyroDraws(NamedTuple):
    """Constrained draws of a model."""

    sites: dict[str, Array]  # leading axis num_samples
    weights: np.ndarray  # (num_samples,) normalised
    draws: Draws  # on the unconstrained space: log Z, bounds, findings


class _Dynamic(NamedTuple):
    """Stands for an array among the arguments: plates may depend on its shape."""

    shape: tuple[int, ...]
    dtype: str


@memoised
def _bound(
    model: Callable[..., Any], tree: Any, fixed: tuple[Any, ...], kinds: tuple[type, ...]
) -> Any:
    """Make a density and a constraint whose compiled programs all data sets share.

    The static arguments' types are part of the key: True and 1 are equal, but not the same model.
    """
    from numpyro.infer.util import initialize_model

    def arguments(data: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        arrays = iter(data)
        leaves = [next(arrays) if isinstance(one, _Dynamic) else one for one in fixed]
        return jax.tree.unflatten(tree, leaves)

    def initial(rng_key: PRNGKey, data: Any) -> Any:
        args, kwargs = arguments(data)
        # no gradient here: it would be taken one operation at a time, and compile a hundred of them
        return initialize_model(
            rng_key,
            model,
            dynamic_args=True,
            model_args=args,
            model_kwargs=kwargs,
            validate_grad=False,
        )

    made: dict[str, Any] = {}

    def begin(rng_key: PRNGKey, data: Any) -> dict[str, Array]:
        info = initial(rng_key, data)
        made.setdefault("info", info)
        return info.param_info.z

    def logdensity_fn(position: ArrayTree, data: Any) -> Array:
        args, kwargs = arguments(data)
        return -made["info"].potential_fn(*args, **kwargs)(position)

    def constrain(position: ArrayTree, data: Any) -> dict[str, Array]:
        args, kwargs = arguments(data)
        return made["info"].postprocess_fn(*args, **kwargs)(position)

    return begin, logdensity_fn, constrain


def _refuse_discrete(
    model: Callable[..., Any], rng_key: PRNGKey, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    from numpyro import handlers

    names: list[str] = []

    def traced(key: PRNGKey) -> None:
        trace = handlers.trace(handlers.seed(model, key)).get_trace(*args, **kwargs)
        latent = [s for s in trace.values() if s["type"] == "sample" and not s["is_observed"]]
        names.extend(s["name"] for s in latent if s["fn"].support.is_discrete)

    jax.eval_shape(traced, rng_key)  # the supports are known without drawing anything
    if names:
        raise ValueError(
            f"the model has discrete latent sites {names}, but reverse diffusion needs continuous "
            "parameters. Sum them out: for a mixture, observe "
            "numpyro.distributions.MixtureSameFamily."
        )


def from_numpyro(
    model: Callable[..., Any], rng_key: PRNGKey, *args: Any, model_kwargs: Any = None
) -> NumpyroTarget:
    """Make the density, the example position and the constraint of a NumPyro model.

    Args:
        model: with continuous latent sites only.
        rng_key: for the example position.
        args: arguments of the model; arrays among them are dynamic, everything else is static.
        model_kwargs: keyword arguments of the model; dynamic and static as ``args``.

    Returns:
        `NumpyroTarget`; the same model and static arguments give the same ``logdensity_fn``, so
        new data of the same shape compile nothing.

    Raises:
        ValueError: for discrete latent sites.

    >>> import numpyro, numpyro.distributions as dist
    >>> def model(y):
    ...     numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal()), 1.0), obs=y)
    >>> parts = from_numpyro(model, jax.random.key(0), np.array([0.0]))
    >>> round(float(parts.logdensity_fn({"mu": jnp.zeros(())}, parts.data)), 4)  # -log 2π
    -1.8379
    """
    kwargs = dict(model_kwargs or {})
    _refuse_discrete(model, rng_key, args, kwargs)
    leaves, tree = jax.tree.flatten((args, kwargs))
    is_array = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
    data = tuple(jnp.asarray(a) for a, dynamic in zip(leaves, is_array, strict=True) if dynamic)
    fixed = tuple(
        _Dynamic(a.shape, str(a.dtype)) if dynamic else a
        for a, dynamic in zip(leaves, is_array, strict=True)
    )
    kinds = tuple(type(one) for one in fixed)
    begin, logdensity_fn, constrain = _bound(model, tree, fixed, kinds)
    return NumpyroTarget(logdensity_fn, begin(rng_key, data), data, lambda z: constrain(z, data))


def sample(
    model: Callable[..., Any],
    rng_key: PRNGKey,
    num_samples: int,
    *args: Any,
    model_kwargs: Any = None,
    **options: Any,
) -> NumpyroDraws:
    """Sample a NumPyro model by `rdmc_jax.sample`.

    Args:
        model: with continuous latent sites only.
        rng_key: key.
        num_samples: output draws.
        args: arguments of the model.
        model_kwargs: keyword arguments of the model.
        options: options of `rdmc_jax.sample`.

    Returns:
        `NumpyroDraws`: constrained draws, deterministic sites included, weights, and the `Draws`,
        whose ``log_normalizer`` is the model's log evidence.

    Raises:
        ValueError: for discrete latent sites.
    """
    parts = from_numpyro(model, rng_key, *args, model_kwargs=model_kwargs)
    draws = sample_density(
        rng_key, parts.logdensity_fn, parts.position, num_samples, data=parts.data, **options
    )
    # in chunks: deterministic sites may be much larger than the parameters
    sites = jax.lax.map(parts.constrain, draws.position, batch_size=CHUNK)
    return NumpyroDraws(sites, draws.weights, draws)
