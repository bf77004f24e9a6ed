"""What the generators saw, and where replicates disagree."""

import numpy as np

from rdmc_jax.draws.coverage import coverage, disagreement

RNG = np.random.default_rng(3)
NUM = 1200


def clusters(share_of_right, num=NUM, dim=5):
    """Points at -5 and at +5 in every coordinate, with unit noise."""
    right = np.arange(num) < round(share_of_right * num)
    return np.where(right[:, None], 5.0, -5.0) + RNG.normal(size=(num, dim)), right


def seen(position, source):
    weight = np.full(NUM, 1 / NUM)
    draws = clusters(0.4)[0]
    pool = np.asarray(position, np.float32)
    order = RNG.permutation(NUM)
    return coverage(draws[order], weight, pool, np.zeros(len(pool), np.float32), source)


def test_generators_that_saw_everything():
    position, _ = clusters(0.5, num=200)
    found = seen(position, np.arange(200) % 3)
    np.testing.assert_array_equal(found.missed_by_source, 0.0)
    assert found.seen_by_one_source == 0.0


def test_points_of_no_generator_vouch_for_nobody():
    position, right = clusters(0.1, num=200)
    source = np.where(right, 0, np.arange(200) % 3)
    draws, _ = clusters(0.4, num=400)
    found = seen(np.concatenate([position, draws]), np.append(source, np.full(400, -1)))
    np.testing.assert_allclose(found.missed_by_source, [0.0, 0.4, 0.4], atol=0.03)
    np.testing.assert_allclose(found.seen_by_one_source, 0.4, atol=0.03)


def test_a_mode_that_one_generator_found():
    position, right = clusters(0.1, num=200)
    # the first generator has all of the right mode, the others nothing of it
    source = np.where(right, 0, np.arange(200) % 3)
    found = seen(position, source)
    np.testing.assert_allclose(found.missed_by_source, [0.0, 0.4, 0.4], atol=0.03)
    np.testing.assert_allclose(found.seen_by_one_source, 0.4, atol=0.03)


def test_points_without_weight_saw_nothing():
    position, right = clusters(0.5, num=200)
    log_weight = np.where(right & (np.arange(200) % 2 == 1), -np.inf, 0.0).astype(np.float32)
    weight = np.full(NUM, 1 / NUM)
    draws = clusters(0.4)[0]
    pool = position.astype(np.float32)
    found = coverage(draws, weight, pool, log_weight, np.arange(200) % 2)
    np.testing.assert_allclose(found.seen_by_one_source, 0.4, atol=0.03)


def test_one_generator_is_compared_with_nothing():
    position, _ = clusters(0.5, num=50)
    assert seen(position, np.zeros(50, int)).seen_by_one_source == 0.0


def two_replicates(first, second, tail=0.0):
    parts = [clusters(first)[0], clusters(second)[0]]
    log_weight = tail * RNG.normal(size=2 * NUM)
    replicate = np.repeat([0, 1], NUM)
    return disagreement(np.concatenate(parts), log_weight, replicate)


def test_replicates_that_agree():
    for _ in range(20):
        share = RNG.binomial(NUM, 0.3, size=2) / NUM
        assert two_replicates(*share, tail=0.5).standard_errors < 5.0


def test_few_draws_are_no_evidence():
    for num in (2, 4, 8, 16):
        for _ in range(10):
            position, replicate = RNG.normal(size=(num, 1)), np.arange(num) % 2
            assert disagreement(position, np.zeros(num), replicate).standard_errors == 0.0


def test_replicates_that_agree_with_few_draws():
    for _ in range(40):
        position, replicate = RNG.normal(size=(60, 2)), np.arange(60) % 2
        assert disagreement(position, np.zeros(60), replicate).standard_errors < 5.0


def test_replicates_that_disagree_about_a_mode():
    found = two_replicates(0.3, 0.45)
    assert found.standard_errors > 5.0
    assert max(found.weights) > min(found.weights) + 0.02
