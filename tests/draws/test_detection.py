"""What the searches would have seen, joined over searches and read off at any width."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from rdmc_jax.draws.detection import Detection
from rdmc_jax.pools.injection import WIDTHS
from rdmc_jax.types import Injected

NUM = 40
ONES = np.ones(2)


def seen_from(threshold, reference=1.0, typical=1.0):
    """Modes that are seen with share s and width r if ``s r > threshold``, one for each."""
    log_excess = np.log(WIDTHS)[None, :] - np.log(threshold)[:, None]
    return Injected(log_excess, np.full_like(log_excess, -np.inf), reference * ONES, typical * ONES)


def test_the_fraction_recovered_at_a_share_and_a_width():
    threshold = (np.arange(NUM) + 0.5) / NUM
    found = Detection.of([seen_from(threshold)])
    for share, width in ((0.5, 1.0), (0.9, 0.5), (0.5, 0.25)):
        assert abs(found.probability(0.0, share, width) - share * width) <= 1 / NUM
    # the share is one of Z: with Z = 2 a share has twice the density
    assert found.probability(np.log(2.0), 0.25, 1.0) == found.probability(0.0, 0.5, 1.0)


def test_what_one_search_sees_is_seen_and_widths_are_relative_to_the_end():
    blind, sharp = np.full(NUM, 1e6), np.full(NUM, 1e-6)
    half = np.where(np.arange(NUM) % 2, blind, sharp)
    both = Detection.of([seen_from(half), seen_from(half[::-1])])
    assert both.probability(0.0, 0.5, 1.0) == 1.0
    assert Detection.of([seen_from(half)] * 2).probability(0.0, 0.5, 1.0) == 0.5
    # injected with the widths of the first round, three times those of the end
    threshold = (np.arange(NUM) + 0.5) / NUM
    narrower = Detection.of([seen_from(threshold, 3.0, 1.0)])
    assert abs(narrower.probability(0.0, 0.9, 1.0) - 0.3) <= 1.5 / NUM
    np.testing.assert_allclose(narrower.typical, 1.0)


def test_the_limit_is_the_width_down_to_which_nine_of_ten_are_seen():
    found = Detection.of([seen_from(np.linspace(0.01, 0.05, NUM))])
    limit = found.limit(0.0)
    assert 0.4 <= limit <= 0.52 and found.probability(0.0, 0.1, limit) >= 0.9
    never = Detection.of([seen_from(np.full(NUM, 1e6))])
    assert never.limit(0.0) == np.inf and never.probability(0.0, 0.1, 1.0) == 0.0
    inf = np.full((NUM, len(WIDTHS)), np.inf)
    assert Detection.of([Injected(inf, -inf, ONES, ONES)]).limit(0.0) == pytest.approx(WIDTHS[-1])
    # half of them on the flank of a mode that is four times as high as one of all mass
    flank = Injected(-inf, np.where(np.arange(NUM)[:, None] % 2, 4.0, -inf), ONES, ONES)
    assert Detection.of([flank]).probability(0.0, 0.1, 1.0) == 0.5
    assert Detection.of([flank]).probability(7.0, 0.1, 1.0) == 0.0


@pytest.mark.parametrize(("share", "width"), [(0.0, 1.0), (1.0, 1.0), (0.1, 0.0), (0.1, -1.0)])
def test_shares_and_widths_out_of_range_are_refused(share, width):
    with pytest.raises(ValueError, match=r"share=0\.1, width=0\.5"):
        Detection.of([seen_from(np.ones(NUM))]).probability(0.0, share, width)


@pytest.mark.one_program
def test_a_run_has_the_probability_and_the_limit(gaussian_draws):
    assert 0 < gaussian_draws.detection_limit < 0.5
    assert gaussian_draws.detection_probability(0.1, 1.0) > 0.9
    assert "tenth of the mass would have been seen" in gaussian_draws.summary()
    none = dataclasses.replace(gaussian_draws, detection=None)
    assert np.isnan(none.detection_limit) and np.isnan(none.detection_probability(0.1, 1.0))
    assert none.findings() == [] and "unknown" in none.summary()
    unweighted = dataclasses.replace(gaussian_draws, log_normalizer=float("nan"))
    assert np.isnan(unweighted.detection_limit)
    assert jnp.shape(gaussian_draws.detection.typical) == (2,)
