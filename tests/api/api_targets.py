"""One density in two dimensions whose data make it every target here, so it compiles once."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax as rj

CALLS = {"traced": 0, "concrete": 0}
"""How often Python ran the density: when a program is made of it, or with numbers."""

ORIGIN = jnp.zeros(2)


def density(x, data):
    """Four Gaussians times Z; zero left of ``bound``; a bad value in a disc."""
    CALLS["traced" if isinstance(x, jax.core.Tracer) else "concrete"] += 1
    z = jnp.sum(data["whitener"] * (x[None, :] - data["mean"])[:, None, :], axis=2)
    log_terms = data["log_amplitude"] - 0.5 * jnp.sum(z**2, axis=1)
    value = jax.nn.logsumexp(log_terms) - jnp.log(2 * jnp.pi) + data["log_normalizer"]
    value = jnp.where(x[0] < data["bound"], -jnp.inf, value)
    is_bad = jnp.sum((x - data["bad_center"]) ** 2) < data["bad_radius"] ** 2
    return jnp.where(is_bad, data["bad_value"], value)


def target(
    mean=((0.0, 0.0),),
    scale=((1.0, 1.0),),
    weight=(1.0,),
    covariance=None,
    log_normalizer=0.0,
    bound=-np.inf,
    bad_center=(0.0, 0.0),
    bad_radius=0.0,
    bad_value=0.0,
):
    """Data of `density`; components that are not given have no weight."""
    if covariance is None:
        covariance = [np.diag(np.square(one)) for one in scale]
    whitener = np.stack([np.linalg.inv(np.linalg.cholesky(one)) for one in covariance])
    log_amplitude = np.log(weight) + np.log(np.linalg.det(whitener))
    missing = 4 - len(weight)
    values = {
        "mean": np.append(np.asarray(mean, float), np.zeros((missing, 2)), axis=0),
        "whitener": np.append(whitener, np.tile(np.eye(2), (missing, 1, 1)), axis=0),
        "log_amplitude": np.append(log_amplitude, np.full(missing, -np.inf)),
        "log_normalizer": log_normalizer,
        "bound": bound,
        "bad_center": bad_center,
        "bad_radius": bad_radius,
        "bad_value": bad_value,
    }
    return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}


CHEAP_METHOD = rj.rdmc(
    rj.gaussian(num_particles=64),
    rj.levels(rj.log_snr_grid(4, low=-3.0, high=3.0), rj.importance(num_samples=16)),
    rj.gaussian_finish(),
)


def cheap(num_samples=256, seed=0, position=ORIGIN, data=None, **options):
    """A run of the cheap method; all of them share one program."""
    data = target() if data is None else data
    key = jax.random.key(seed)
    return rj.sample(key, density, position, num_samples, data=data, method=CHEAP_METHOD, **options)


def default(num_samples=2000, seed=0, position=ORIGIN, data=None, **options):
    """A run of the automatic method in two dimensions; all of them share one program."""
    data = target() if data is None else data
    return rj.sample(jax.random.key(seed), density, position, num_samples, data=data, **options)


GMM4 = rj.problems.gmm4()
GMM4_DATA = target(
    mean=((0.0, 0.0), (0.0, 11.0), (9.0, 9.0), (11.0, 0.0)),
    covariance=(
        ((1.0, 0.5), (0.5, 1.0)),
        ((0.3, -0.2), (-0.2, 0.3)),
        ((1.0, 0.3), (0.3, 1.0)),
        ((1.2, -1.0), (-1.0, 1.2)),
    ),
    weight=(0.1, 0.2, 0.3, 0.4),
)


TREE_POSITION = {"mu": 0.0, "rest": [jnp.zeros(1), {"b": jnp.zeros((2, 1))}]}
TREE_KNOWN = {
    "mu": np.full(2, 300.0),
    "rest": [np.full((2, 1), 300.0), {"b": np.full((2, 2, 1), 300.0)}],
}


def tree_density(tree):
    """Independent Gaussians about 300, width 1/2, in four coordinates; Z = e."""
    CALLS["traced" if isinstance(tree["mu"], jax.core.Tracer) else "concrete"] += 1
    flat = jnp.concatenate([tree["mu"][None], tree["rest"][0], tree["rest"][1]["b"][:, 0]])
    return 1.0 - jnp.sum(2 * (flat - 300.0) ** 2) - 2 * jnp.log(jnp.pi / 2)


def tree_run(position=TREE_POSITION, known=TREE_KNOWN):
    """A run of the cheap method on trees, two of whose points the user knows."""
    return rj.sample(
        jax.random.key(3),
        tree_density,
        position,
        300,
        method=CHEAP_METHOD,
        known_positions=known,
    )


def log_mean_exp(log_weight):
    log_weight = np.asarray(log_weight, float)
    return float(np.log(np.mean(np.exp(log_weight - log_weight.max()))) + log_weight.max())


@contextlib.contextmanager
def optimised():
    """Programs compiled as users have them, for a density that is dear to evaluate."""
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", True)
