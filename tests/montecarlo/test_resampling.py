"""Resampling: counts, frequencies and degenerate weights."""

import blackjax.smc.resampling as blackjax_resampling
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import assert_mean

from rdmc_jax.montecarlo.resampling import multinomial, stratified, systematic

NUM_CANDIDATES, NUM_SAMPLES, NUM_KEYS = 10, 37, 3000
LOG_WEIGHT = jnp.asarray([0.3, -jnp.inf, 1.1, -2.0, 0.0, -9.0, 2.0, 0.5, -0.7, -jnp.inf])
PROBABILITY = np.asarray(jax.nn.softmax(LOG_WEIGHT), float)


def counts_of(index):
    return jnp.sum(index[:, None] == jnp.arange(NUM_CANDIDATES)[None], axis=0)


@pytest.fixture(scope="module")
def counts():
    """Counts of every candidate, for many keys: ours, and blackjax's systematic."""
    keys = jax.random.split(jax.random.key(0), NUM_KEYS)

    @jax.jit
    @jax.vmap
    def many(key):
        weight = jnp.exp(LOG_WEIGHT) / jnp.sum(jnp.exp(LOG_WEIGHT))
        return {
            "systematic": counts_of(systematic(key, LOG_WEIGHT, NUM_SAMPLES)),
            "stratified": counts_of(stratified(key, LOG_WEIGHT, NUM_SAMPLES)),
            "stratified of blackjax": counts_of(
                blackjax_resampling.stratified(key, weight, NUM_SAMPLES)
            ),
            "multinomial": counts_of(multinomial(key, LOG_WEIGHT, NUM_SAMPLES)),
            "blackjax": counts_of(blackjax_resampling.systematic(key, weight, NUM_SAMPLES)),
        }

    return {name: np.asarray(value) for name, value in many(keys).items()}


def test_systematic_counts_are_the_floor_or_the_ceiling_of_their_expectation(counts):
    expected = NUM_SAMPLES * PROBABILITY
    assert np.all(counts["systematic"] >= np.floor(expected - 1e-4))
    assert np.all(counts["systematic"] <= np.ceil(expected + 1e-4))


@pytest.mark.parametrize("scheme", ["systematic", "stratified", "multinomial"])
def test_expected_counts_are_proportional_to_the_weights(counts, scheme):
    assert np.all(counts[scheme].sum(1) == NUM_SAMPLES)
    assert_mean(counts[scheme], NUM_SAMPLES * PROBABILITY, slack=1e-3)
    assert np.all(counts[scheme][:, PROBABILITY == 0] == 0)


def test_multinomial_counts_have_binomial_variance(counts):
    terms = (counts["multinomial"] - NUM_SAMPLES * PROBABILITY) ** 2
    assert_mean(terms, NUM_SAMPLES * PROBABILITY * (1 - PROBABILITY), slack=1e-3)


def test_systematic_counts_have_the_law_of_blackjax(counts):
    ours, theirs = counts["systematic"], counts["blackjax"]
    assert_mean(ours - theirs, 0.0)
    # the same offset falls on the same comb: the joint law of the counts agrees, not only margins
    for a in range(NUM_CANDIDATES - 1):
        product = ours[:, a] * ours[:, a + 1], theirs[:, a] * theirs[:, a + 1]
        assert_mean(product[0] - product[1], 0.0)


def test_stratified_counts_have_the_law_of_blackjax(counts):
    ours, theirs = counts["stratified"], counts["stratified of blackjax"]
    assert_mean(ours - theirs, 0.0)
    for a in range(NUM_CANDIDATES - 1):
        product = ours[:, a] * ours[:, a + 1], theirs[:, a] * theirs[:, a + 1]
        assert_mean(product[0] - product[1], 0.0)
    # less noise than independent indices have
    scatter = [np.sum(np.var(counts[name], axis=0)) for name in ("stratified", "multinomial")]
    assert scatter[0] < 0.5 * scatter[1]


def test_strata_do_not_miss_every_second_candidate():
    # 100 of 400: the teeth of a comb fall on even candidates only, or on odd ones only
    keys = jax.random.split(jax.random.key(0), 200)

    def odd(draw):
        return np.asarray(jax.vmap(lambda key: jnp.mean(draw(key, jnp.zeros(400), 100) % 2))(keys))

    assert set(odd(systematic)) == {0.0, 1.0}
    found = odd(stratified)
    assert_mean(found, 0.5)
    assert np.std(found) < 1.2 * 0.5 / np.sqrt(100)


@pytest.mark.parametrize("scheme", [systematic, stratified, multinomial])
def test_weights_that_are_all_zero_give_valid_indices_of_every_candidate(scheme):
    index = np.asarray(scheme(jax.random.key(1), jnp.full(5, -jnp.inf), 500))
    assert index.min() >= 0 and index.max() < 5
    np.testing.assert_allclose(np.bincount(index, minlength=5), 100, atol=50)


@pytest.mark.parametrize("scheme", [systematic, stratified, multinomial])
@pytest.mark.parametrize("only", [0, 2, 4])
def test_a_single_candidate_takes_all(scheme, only):
    log_weight = jnp.full(5, -jnp.inf).at[only].set(-1e4)
    assert np.all(np.asarray(scheme(jax.random.key(2), log_weight, 64)) == only)


def test_candidates_of_zero_weight_are_never_drawn_not_even_by_rounding():
    # with this key the last tooth of the comb rounds up to 1
    index = systematic(jax.random.key(65), jnp.asarray([0.0, 0.0, -jnp.inf]), 2**20)
    assert int(index[-1]) == 1
