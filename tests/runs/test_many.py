"""Many data sets in one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdmc_jax as rj

TRACED = [0]
METHOD = rj.rdmc(
    rj.samplers.gaussian_start(num_particles=64),
    rj.samplers.levels(
        rj.diffusion.log_snr_grid(4, low=-3.0, high=3.0), rj.estimators.importance(num_samples=16)
    ),
    rj.samplers.gaussian_finish(),
)
DATA = {
    "mean": jnp.array([[3.0], [-20.0], [100.0]]),
    "log_z": jnp.array([0.0, 5.0, -7.0]),
    "is_rounded": jnp.zeros(3),
}


def density(position, data):
    """A Gaussian of unit width about the data, times Z; in steps of a quarter if it is rounded."""
    TRACED[0] += 1
    gaps = position["x"] - data["mean"]
    value = -0.5 * jnp.sum(gaps**2) - 0.5 * jnp.log(2 * jnp.pi)
    return data["log_z"] + jnp.where(data["is_rounded"] > 0, jnp.round(4 * value) / 4, value)


def run(num_samples=100, seed=0, data=DATA, **options):
    key, position = jax.random.key(seed), {"x": jnp.zeros(1)}
    options = {"num_samples": num_samples, "method": METHOD, **options}
    return rj.sample_many(key, density, position, data, **options)


@pytest.fixture(scope="module")
def many():
    return run()


def test_every_data_set_has_its_own_draws(many):
    assert len(many) == 3 and many.position["x"].shape == (3, 100, 1)
    assert many.log_weight.shape == (3, 100) and many.ess.shape == (3,)
    assert many.num_evals.logdensity.shape == (3,) and np.all(many.num_evals.gradient > 0)
    for k, one in enumerate(many):
        weights = np.exp(one.log_weight - np.max(one.log_weight))
        mean = np.average(one.position["x"][:, 0], weights=weights)
        assert abs(mean - DATA["mean"][k, 0]) < 5 / np.sqrt(one.ess)
        gap = one.log_normalizer - float(DATA["log_z"][k])
        assert abs(gap) < 4 * one.log_normalizer_error + 0.05


def test_the_record_is_a_list(many):
    assert len(many[1:]) == 2 and len(list(many)) == 3
    np.testing.assert_array_equal(many[1:].ess, many.ess[1:])
    np.testing.assert_array_equal(many[-1].position["x"], many.position["x"][2])
    with pytest.raises(IndexError):
        many[3]


def test_new_data_and_keys_trace_nothing_and_keys_matter(many):
    before = TRACED[0]
    other = run(seed=1, data={**DATA, "mean": DATA["mean"] + 1})
    assert TRACED[0] == before
    assert not np.array_equal(other.log_weight, many.log_weight)
    same = run()
    np.testing.assert_array_equal(same.position["x"], many.position["x"])
    assert TRACED[0] == before


def test_chunks_change_execution_only(many):
    chunked = run(chunk_size=2)  # the last chunk has one data set
    close = np.isclose(chunked.position["x"], many.position["x"], rtol=1e-3, atol=1e-3)
    assert np.mean(close) >= 0.95
    gap = np.abs(chunked.log_normalizer - many.log_normalizer)
    assert np.all(gap < 3 * many.log_normalizer_error)
    np.testing.assert_array_equal(chunked.num_evals.logdensity, many.num_evals.logdensity)


def test_a_bad_data_set_is_named_and_spoils_no_other(many):
    bad = {**DATA, "log_z": DATA["log_z"].at[1].set(-jnp.inf)}
    draws = run(data=bad)
    assert draws.log_normalizer[1] == -np.inf and draws.ess[1] == 0
    assert draws.num_nonfinite[1] > 0
    for k in (0, 2):
        np.testing.assert_array_equal(draws.log_weight[k], many.log_weight[k])
    with pytest.warns(rj.RDMCWarning, match=r"\[R103\].* of 3 data sets .*worst 0 of 100.*1"):
        assert [one.code for one in draws.check()] == ["R103"]


def test_a_data_set_without_a_gradient_decides_nothing_for_the_others(many):
    draws = run(data={**DATA, "is_rounded": jnp.array([1.0, 0.0, 1.0])})
    assert np.all(draws.num_evals.gradient > 0)
    np.testing.assert_array_equal(draws.log_weight[1], many.log_weight[1])
    # rounding to quarters, which is even, changes Z by a per cent or so
    gap = draws.log_normalizer - np.asarray(DATA["log_z"])
    assert np.all(np.abs(gap) < 4 * draws.log_normalizer_error + 0.05)


@pytest.mark.parametrize("data", [jnp.float32(1), {"a": jnp.zeros(3), "b": jnp.zeros(2)}, None])
def test_data_without_data_sets(data):
    with pytest.raises(ValueError, match=r"leading axis.*shapes are .*jnp\.stack"):
        run(data=data)


def test_chunks_of_nothing():
    with pytest.raises(ValueError, match="chunk_size must be at least 1 data set, but got 0"):
        run(chunk_size=0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_density_that_is_no_number_at_the_position_is_refused(value):
    bad = {**DATA, "log_z": DATA["log_z"].at[jnp.array([1, 2])].set(value)}
    words = rf"returned {value} at the example position .* for 1, 2 of 3 data sets\. It must be"
    with pytest.raises(ValueError, match=words):
        run(data=bad)


def test_what_sample_refuses_is_refused_in_its_words():
    words = {
        "method must be made by rdmc": {"method": "paper"},
        "max_evals=50.0 scales the automatic choice": {"max_evals": 50.0},
        "num_samples must be at least 1, but got 0": {"num_samples": 0},
        "num_samples must be a whole number of draws, but got 1.5": {"num_samples": 1.5},
    }
    for text, options in words.items():
        with pytest.raises((TypeError, ValueError), match=text):
            run(**options)
    with pytest.raises(TypeError, match="rng_key must be one key"):
        rj.sample_many(0, density, {"x": jnp.zeros(1)}, DATA)
    with pytest.raises(TypeError, match=r"must return a scalar .* shape \(1,\)"):
        rj.sample_many(jax.random.key(0), lambda p, d: p["x"], {"x": jnp.zeros(1)}, DATA)


def test_the_automatic_method_works_on_many_data_sets():
    data = {**DATA, "mean": jnp.array([[3.0], [-20.0], [7.0]])}
    found = run(num_samples=1000, data=data, method=None, max_evals=40_000, chunk_size=3)
    assert "mixture draws" in found.plan.reason
    for k, one in enumerate(found):
        assert one.ess > 500
        assert abs(one.log_normalizer - float(data["log_z"][k])) < 4 * one.log_normalizer_error
        weights = np.exp(one.log_weight - np.max(one.log_weight))
        mean = np.average(one.position["x"][:, 0], weights=weights)
        assert abs(mean - data["mean"][k, 0]) < 4 / np.sqrt(one.ess)
