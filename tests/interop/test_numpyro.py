"""NumPyro models: closed forms, changes of variables, and clear refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import special, stats

import rdmc_jax as rj
from rdmc_jax.interop.numpyro import from_numpyro, sample


@pytest.fixture(scope="module", autouse=True)
def ranks_as_numpyro_wants_them():
    """The suite forbids rank promotion, on which NumPyro's own code relies."""
    with jax.numpy_rank_promotion("allow"):
        yield


METHOD = rj.rdmc(
    rj.samplers.gaussian_start(num_particles=1024),
    rj.samplers.levels(
        rj.diffusion.log_snr_grid(8), rj.estimators.importance(num_samples=64, reference_scale=2.0)
    ),
    rj.samplers.gaussian_finish(),
)
"""Compiles in a few seconds."""
COUNTS = np.asarray([7, 2, 4])
CONCENTRATION = np.asarray([1.0, 2.0, 0.5])


def dirichlet(counts, concentration):
    share = numpyro.sample("share", dist.Dirichlet(concentration))
    numpyro.deterministic("odds", share[0] / (1 - share[0]))
    numpyro.sample("counts", dist.Multinomial(13, share), obs=counts)


@pytest.fixture(scope="module")
def dirichlet_run():
    prior = CONCENTRATION.astype(np.float32)
    return sample(dirichlet, jax.random.key(1), 2048, COUNTS, prior, method=METHOD)


def test_a_dirichlet_site_has_its_closed_form(dirichlet_run):
    sites, weights, draws = dirichlet_run
    log_z = stats.dirichlet_multinomial.logpmf(COUNTS, CONCENTRATION, 13)
    assert abs(draws.log_normalizer - log_z) < 4 * draws.log_normalizer_error + 0.01
    np.testing.assert_allclose(jnp.sum(sites["share"], axis=1), 1.0, atol=1e-5)
    exact = stats.dirichlet(COUNTS + CONCENTRATION)
    mean = weights @ np.asarray(sites["share"], float)
    error = np.sqrt(exact.var() / draws.ess)
    np.testing.assert_array_less(np.abs(mean - exact.mean()), 5 * error)


def test_deterministic_sites_and_structure_come_along(dirichlet_run):
    sites, weights, draws = dirichlet_run
    assert set(sites) == {"share", "odds"} and weights.shape == (2048,)
    np.testing.assert_allclose(
        sites["odds"], sites["share"][:, 0] / (1 - sites["share"][:, 0]), rtol=1e-3
    )
    assert set(draws.position) == {"share"} and draws.position["share"].shape == (2048, 2)


def test_new_data_of_the_same_shape_is_the_same_density():
    parts = [
        from_numpyro(dirichlet, jax.random.key(0), counts, prior)
        for counts, prior in (
            (COUNTS, CONCENTRATION),
            (COUNTS[::-1].copy(), CONCENTRATION),
            (COUNTS[:2] + np.asarray([0, 4]), CONCENTRATION[:2]),
        )
    ]
    assert parts[2].position["share"].shape == (1,)
    assert parts[0].logdensity_fn is parts[1].logdensity_fn
    assert parts[0].logdensity_fn is not parts[2].logdensity_fn
    z = parts[0].position
    assert parts[0].logdensity_fn(z, parts[0].data) != parts[1].logdensity_fn(z, parts[1].data)


def test_static_arguments_that_are_equal_but_not_alike_are_two_densities():
    def model(y, narrow):
        mu = numpyro.sample("mu", dist.Normal())
        numpyro.sample("y", dist.Normal(mu, 1.0 if narrow is True else 10.0), obs=y)

    y, z = np.asarray([3.0]), {"mu": jnp.asarray(0.5)}
    for narrow, deviation in ((True, 1.0), (1, 10.0)):
        parts = from_numpyro(model, jax.random.key(0), y, narrow)
        expected = stats.norm.logpdf(0.5) + stats.norm.logpdf(3.0, 0.5, deviation)
        np.testing.assert_allclose(parts.logdensity_fn(z, parts.data), expected, rtol=1e-5)


ERRORS = np.asarray([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], np.float32)
EFFECTS = np.asarray([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], np.float32)


def centred(y, *, sigma):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("schools", y.shape[0]):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def non_centred(y, *, sigma):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("schools", y.shape[0]):
        z = numpyro.sample("z", dist.Normal(0, 1))
        theta = numpyro.deterministic("theta", mu + tau * z)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def test_eight_schools_centred_and_not_are_one_density_in_two_coordinates():
    kwargs = {"sigma": ERRORS}
    one = from_numpyro(centred, jax.random.key(0), EFFECTS, model_kwargs=kwargs)
    other = from_numpyro(non_centred, jax.random.key(0), EFFECTS, model_kwargs=kwargs)
    z = jax.random.normal(jax.random.key(1), (8,))
    for log_tau in (-1.0, 1.5):
        tau, mu = np.exp(log_tau), 3.0
        first = {"mu": mu, "tau": jnp.asarray(log_tau), "theta": mu + tau * z}
        second = {"mu": mu, "tau": jnp.asarray(log_tau), "z": z}
        value = one.logdensity_fn(first, one.data) + 8 * log_tau
        np.testing.assert_allclose(value, other.logdensity_fn(second, other.data), rtol=1e-4)
        # the Jacobian of tau's exponential is in it
        expected = stats.norm.logpdf(z).sum() + stats.norm.logpdf(mu, 0, 5)
        expected += stats.halfcauchy.logpdf(tau, 0, 5) + log_tau
        expected += stats.norm.logpdf(EFFECTS, mu + tau * z, ERRORS).sum()
        np.testing.assert_allclose(value, expected, rtol=1e-4)
        theta = other.constrain(second)["theta"]
        np.testing.assert_allclose(theta, first["theta"], rtol=1e-5)


def mixture(y):
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(2)))
    prior = dist.Normal(jnp.zeros(2), 5.0).to_event(1)
    ordered = dist.TransformedDistribution(prior, dist.transforms.OrderedTransform())
    mean = numpyro.sample("mean", ordered)
    parts = dist.MixtureSameFamily(dist.Categorical(share), dist.Normal(mean, 1.0))
    numpyro.sample("y", parts, obs=y)


def test_ordered_and_simplex_sites_of_a_mixture():
    y = np.asarray([-2.0, -1.0, 1.5, 2.0], np.float32)
    parts = from_numpyro(mixture, jax.random.key(2), y)
    # the evidence, by sums over the unconstrained space: (first mean, log gap) and log odds
    first, gap, odds = (np.linspace(-edge, edge, 60) for edge in (20.0, 20.0, 12.0))
    grid = np.stack(np.meshgrid(first, gap, odds, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid.astype(np.float32)
    position = {"mean": jnp.asarray(grid[:, :2]), "share": jnp.asarray(grid[:, 2:])}
    density = jax.jit(jax.vmap(lambda z: parts.logdensity_fn(z, parts.data)))
    cell = (first[1] - first[0]) * (gap[1] - gap[0])
    log_z = special.logsumexp(np.asarray(density(position), float))
    log_z += np.log(cell * (odds[1] - odds[0]))
    # and over the parameters: the prior of both unconstrained means, a uniform share
    q = (np.arange(200) + 0.5) / 200
    lower, upper = first[:, None], first[:, None] + np.exp(np.minimum(gap, 6.0))[None, :]
    likelihood = 1.0
    for value in y:
        low, high = stats.norm.pdf(value, lower), stats.norm.pdf(value, upper)
        likelihood = likelihood * (q * low[..., None] + (1 - q) * high[..., None])
    prior = stats.norm.pdf(first, 0, 5)[:, None] * stats.norm.pdf(gap, 0, 5)[None]
    expected = np.log(np.sum(prior * likelihood.mean(2)) * cell)
    np.testing.assert_allclose(log_z, expected, atol=1e-3)
    some = jax.tree.map(lambda leaf: leaf[::5000], position)
    sites = jax.vmap(parts.constrain)(some)
    assert np.all(sites["mean"][:, 0] <= sites["mean"][:, 1])
    np.testing.assert_allclose(jnp.sum(sites["share"], axis=1), 1.0, atol=1e-5)


def test_discrete_latent_sites_are_refused_by_name():
    def model(y):
        k = numpyro.sample("component", dist.Bernoulli(0.5))
        numpyro.sample("y", dist.Normal(k, 1.0), obs=y)

    with pytest.raises(ValueError, match=r"discrete latent sites \['component'\].*Sum them out"):
        from_numpyro(model, jax.random.key(0), np.zeros(1))
