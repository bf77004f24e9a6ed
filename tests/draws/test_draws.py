"""The record of a run: every field and method of Draws."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import CHEAP_METHOD, cheap, default, log_mean_exp, target

import rdmc_jax as rj

pytestmark = pytest.mark.one_program

CHEAP_EVALS = 64 * 16 * 5 + 64
"""Of one ensemble: importance samples at four levels and the finish, and the draws."""


def test_fields_have_the_types_of_the_contract(cheap_draws):
    d = cheap_draws
    assert isinstance(d, rj.Draws)
    assert d.position.shape == (1001, 2) and d.position.dtype == jnp.float32
    assert d.log_weight.shape == (1001,) and d.log_weight.dtype == jnp.float32
    assert d.replicate.shape == (1001,) and jnp.issubdtype(d.replicate.dtype, jnp.integer)
    for name in ("log_normalizer", "log_normalizer_error", "tv_bound", "kl_bound"):
        assert type(getattr(d, name)) is float and np.isfinite(getattr(d, name))
    assert type(d.num_evals.logdensity) is int and type(d.num_evals.gradient) is int
    assert type(d.num_nonfinite) is int and d.num_nonfinite == 0
    assert d.complete is True and d.weighted is True
    assert d.plan.recipe.method == CHEAP_METHOD and d.num_samples == 1001


def test_log_normalizer_is_the_log_of_the_mean_weight(cheap_draws, gaussian_draws):
    for d in (cheap_draws, gaussian_draws):
        np.testing.assert_allclose(d.log_normalizer, log_mean_exp(d.log_weight), atol=1e-5)
        assert abs(d.log_normalizer) < 4 * d.log_normalizer_error + 0.02  # Z = 1


def test_the_last_replicate_takes_the_rest(cheap_draws):
    np.testing.assert_array_equal(np.bincount(cheap_draws.replicate), [250, 250, 250, 251])
    assert np.all(np.diff(cheap_draws.replicate) >= 0)


def test_weights_are_normalised(cheap_draws):
    w = cheap_draws.weights
    assert w.shape == (1001,) and np.all(w >= 0)
    np.testing.assert_allclose(w.sum(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(cheap_draws.ess, 1 / np.sum(w**2), rtol=1e-9)
    log_ratio = np.log(w) - np.asarray(cheap_draws.log_weight, float)
    np.testing.assert_allclose(log_ratio, log_ratio[0], atol=1e-9)


def test_evaluations_are_counted_once_per_ensemble():
    pair = [cheap(256, num_replicates=2), cheap(512, num_replicates=2)]
    added = pair[1].num_evals.logdensity - pair[0].num_evals.logdensity
    assert added == 4 * CHEAP_EVALS
    assert pair[1].num_evals.gradient == pair[0].num_evals.gradient > 0  # the pilots'
    largest = max(pair[0].num_evals)
    assert pair[0].evals_per_sample == pytest.approx(largest / 256)


def test_info_has_one_row_per_step_and_counts_totals():
    d = cheap(256, num_replicates=2)
    np.testing.assert_allclose(d.info.log_snr[:4], [-3.0, -1.5, 0.0, 1.5], atol=1e-4)
    assert all(np.shape(leaf) == (5,) for leaf in jax.tree.leaves(d.info))
    assert int(np.sum(d.info.num_evals.logdensity)) == 4 * CHEAP_EVALS


def test_expectation_and_its_error_on_an_unequal_mixture(mixture_draws):
    truth = {"share": 0.8, "mean": np.array([3.0, 340.0]), "square": 0.2 * 25.25 + 0.8 * 26.0}

    def fn(x):
        return {"share": x[0] > 0, "mean": x, "square": x[0] ** 2}

    scores = []
    for d in mixture_draws:
        mean, error = d.expectation(fn)
        z = jax.tree.map(lambda m, e, t: (m - t) / e, mean, error, truth)
        assert mean["mean"].shape == error["mean"].shape == (2,)
        scores.append(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(z)]))
    assert np.max(np.abs(scores)) < 4
    # neither far too small nor far too large: five runs, all four numbers say the same
    assert 0.3 < np.sqrt(np.mean(np.square(scores))) < 2


def test_expectation_does_not_look_where_the_weight_is_zero():
    d = default(data=target(bound=0.0))
    moved = dataclasses.replace(
        d,
        position=d.position.at[0].set(-1.0),
        log_weight=d.log_weight.at[0].set(-jnp.inf),
    )
    mean, error = moved.expectation(lambda x: jnp.log(x[0]))
    truth = -0.5 * (np.euler_gamma + np.log(2))  # of the log of a half-normal variable
    assert abs(mean - truth) < 4 * error


def test_resample_gives_equal_weights_and_keeps_log_z(mixture_draws):
    d = mixture_draws[0]
    same, fewer = d.resample(jax.random.key(1)), d.resample(jax.random.key(1), 500)
    assert same.num_samples == 2000 and fewer.num_samples == 500
    assert fewer.position.shape == (500, 2) and fewer.replicate.shape == (500,)
    for r in (same, fewer):
        assert r.log_normalizer == d.log_normalizer
        assert r.log_normalizer_error == d.log_normalizer_error
        np.testing.assert_allclose(r.log_weight, d.log_normalizer, rtol=1e-6)
        np.testing.assert_allclose(r.weights, 1 / r.num_samples, rtol=1e-6)
        mean, error = d.expectation(lambda x: x[0] > 0)
        assert abs(np.mean(r.position[:, 0] > 0) - mean) < 4 * error + 1 / r.num_samples
        # equal weights know nothing of the noise that the weights had
        _, resampled_error = r.expectation(lambda x: x[0] > 0)
        assert resampled_error > error
        assert "before resampling" in r.summary()
    # 500 of 2,000 have a noise of their own: over 64 keys its mean is zero
    shares = [
        float(np.mean(d.resample(jax.random.key(k), 500).position[:, 0] > 0)) for k in range(64)
    ]
    assert abs(np.mean(shares) - mean) < 4 * np.std(shares, ddof=1) / 8
    # no noisier than independent choices, whose variance 64 keys know within .18
    assert np.var(shares, ddof=1) < (1 + 4 * 0.18) * mean * (1 - mean) / 500
    known = {tuple(row) for row in np.asarray(d.position).tolist()}
    assert all(tuple(row) in known for row in np.asarray(fewer.position).tolist())
    with pytest.raises(ValueError, match="num_samples must be at least 1, but got 0"):
        d.resample(jax.random.key(1), 0)


def test_summary_names_what_matters(cheap_draws):
    text = cheap_draws.summary()
    for word in ("log Z", "±", "ESS", "evaluations", "1001 in 4 replicates", "bound", "plan"):
        assert word in text
    assert f"{cheap_draws.log_normalizer:.4f}" in text
    assert "1001" in repr(cheap_draws) and "complete=True" in repr(cheap_draws)


def test_check_returns_findings_and_warns_with_their_codes(gaussian_draws):
    assert gaussian_draws.check() == []  # and a warning would be an error here
    assert "findings     none" in gaussian_draws.summary()
    broken = dataclasses.replace(gaussian_draws, complete=False)
    with pytest.warns(rj.RDMCWarning, match=r"\[R101\]"):
        found = broken.check()
    assert [one.code for one in found] == ["R101"] and isinstance(found[0], rj.types.Finding)
    assert "[R101]" in broken.summary()


def test_draws_are_a_pytree(cheap_draws):
    leaves, structure = jax.tree.flatten(cheap_draws)
    assert all(isinstance(leaf, float | int) or hasattr(leaf, "shape") for leaf in leaves)
    again = jax.tree.unflatten(structure, leaves)
    for field in dataclasses.fields(rj.Draws):
        before, after = getattr(cheap_draws, field.name), getattr(again, field.name)
        assert all(a is b for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True))
    doubled = jax.tree.map(lambda leaf: leaf * 2, cheap_draws)
    np.testing.assert_array_equal(doubled.position, 2 * cheap_draws.position)
    mean = jax.jit(lambda d: jnp.mean(d.position, axis=0))(cheap_draws)
    np.testing.assert_allclose(mean, np.mean(cheap_draws.position, axis=0), atol=1e-5)


def test_runs_of_one_plan_have_one_structure(cheap_draws):
    other = cheap(1001, num_replicates=4, seed=1)
    assert jax.tree.structure(other) == jax.tree.structure(cheap_draws)
    both = jax.tree.map(lambda *leaves: np.stack(leaves), cheap_draws, other)
    assert both.position.shape == (2, 1001, 2) and both.plan == other.plan


def test_one_draw_is_a_run_too():
    d = cheap(1)
    assert d.position.shape == (1, 2) and d.num_samples == 1
    assert np.isfinite(d.log_normalizer) and np.isnan(d.log_normalizer_error)
    assert "R109" in [code for code, _ in d.findings()]
    assert "log Z" in d.summary()
