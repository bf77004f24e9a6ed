"""What the pictures show is what the draws say; records are made by hand, so nothing compiles."""

import dataclasses
import sys

import jax
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from rdmc_jax import Draws, Plan, plots
from rdmc_jax.draws.coverage import part_weights
from rdmc_jax.draws.detection import Detection
from rdmc_jax.montecarlo.weights import log_mean_exp, log_normalizer_error, pareto_tail
from rdmc_jax.plots.figure import COLOURS
from rdmc_jax.plots.weights import excess
from rdmc_jax.pools.injection import WIDTHS
from rdmc_jax.samplers.sampler import StepInfo
from rdmc_jax.types import Evaluations

NUM = 2000
RNG = np.random.default_rng(0)
NONE = np.full(1, np.nan)


def record(position, log_weight, replicate=None, ess=NONE, acceptance_rate=NONE, log_snr=NONE):
    """Draws of a run that never was."""
    log_weight = np.asarray(log_weight, np.float32)
    count = log_weight.size
    replicate = np.arange(count) * 2 // count if replicate is None else replicate
    counts = Evaluations(np.ones(ess.size, int), np.ones(ess.size, int))
    return Draws(
        position=position,
        log_weight=log_weight,
        replicate=replicate,
        info=StepInfo(
            log_snr, ess, 0.5 * ess, acceptance_rate, ess, ess, counts, np.zeros(ess.size, int)
        ),
        log_normalizer=log_mean_exp(log_weight),
        log_normalizer_error=log_normalizer_error(log_weight, replicate),
        tv_bound=0.1,
        kl_bound=0.1,
        num_evals=Evaluations(count, count),
        num_nonfinite=0,
        plan=Plan(None, None, None, 2, 1, "made by hand"),
        complete=True,
        weighted=True,
        seconds=0.0,
        largest_logdensity=1.0,
    )


LOG_WEIGHT = RNG.normal(-5, 0.4, NUM)
IS_RIGHT = RNG.random(NUM) < 0.8
GAUSSIAN = RNG.normal(size=(NUM, 2)).astype(np.float32)


@pytest.fixture
def two_clusters():
    """Weighted draws of .2 N((-5, 100), .5² 20²) + .8 N((5, 400), 1² 5²)."""
    right, left = np.array([5.0, 400.0]), np.array([-5.0, 100.0])
    x = np.where(IS_RIGHT[:, None], right + GAUSSIAN * [1.0, 5.0], left + GAUSSIAN * [0.5, 20.0])
    return record(x.astype(np.float32), LOG_WEIGHT)


@pytest.fixture
def gaussian_draws():
    """Of one step, the finish."""
    return record(GAUSSIAN, LOG_WEIGHT, None, np.full(1, 20.0), np.full(1, 0.7), np.full(1, 2.7))


def with_weights(d, log_weight):
    return dataclasses.replace(record(d.position, log_weight, d.replicate), info=d.info)


def visible(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def drawn(figure, tmp_path):
    """Layout and text are made here, where warnings are errors."""
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "picture.png", dpi=40)


def weightless(d):
    log_weight = np.full_like(d.log_weight, np.nan)
    return dataclasses.replace(d, weighted=False, log_weight=log_weight, log_normalizer=np.nan)


def test_points_show_their_weight_and_their_cluster(two_clusters, tmp_path):
    figure = plots.pair_plot(two_clusters, truth=two_clusters.position)
    drawn(figure, tmp_path)
    assert len(figure.axes) == 4 and len(visible(figure)) == 3
    points, lines = figure.axes[2].collections
    assert len(lines.levels) == 2  # around 50 and 90 % of the truth
    np.testing.assert_array_equal(points.get_offsets(), two_clusters.position)
    areas, weights = points.get_sizes(), two_clusters.weights
    is_small = areas < areas.max()
    ratio = areas[is_small] / weights[is_small]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
    colours = points.get_facecolors()[:, :3]
    is_right = np.asarray(two_clusters.position)[:, 0] > 0  # the heavier one comes first
    np.testing.assert_allclose(colours[is_right][0], to_rgba(COLOURS[0])[:3])
    assert len(np.unique(colours[is_right], axis=0)) == len(np.unique(colours, axis=0)) - 1 == 1
    shares = [float(text.get_text().split()[-1]) for text in figure.legends[0].texts[:2]]
    np.testing.assert_allclose(shares[0], weights[is_right].sum(), atol=1e-3)
    assert [figure.axes[k].get_xlabel() for k in (2, 3)] == ["x[0]", "x[1]"]


def test_marginals_are_densities(two_clusters):
    figure = plots.pair_plot(two_clusters, max_columns=1)
    (axes,) = figure.axes
    bars = np.concatenate([patch.get_xy() for patch in axes.patches])
    low, high = axes.get_xlim()
    assert bars[:, 1].max() * (high - low) > 1.0  # at least as high as a uniform one
    assert "1 more coordinates" in figure.get_suptitle()


def test_clusters_may_be_given(two_clusters):
    label = np.arange(NUM) % 5
    figure = plots.pair_plot(two_clusters, clusters=label)
    assert len(figure.legends[0].texts) == 5
    with pytest.raises(ValueError, match=r"shape \(2000,\), but got shape \(7,\)"):
        plots.pair_plot(two_clusters, clusters=np.zeros(7, int))
    with pytest.raises(ValueError, match="dtype float64"):
        plots.replicate_plot(two_clusters, clusters=np.zeros(NUM))


def test_clusters_of_one_gaussian_are_one(gaussian_draws):
    label = plots.find_clusters(np.asarray(gaussian_draws.position), gaussian_draws.log_weight)
    np.testing.assert_array_equal(label, 0)


def test_names_are_the_paths_of_the_leaves(tmp_path):
    tree = {"mu": GAUSSIAN[:, 0], "rest": [GAUSSIAN[:, :1], {"b": GAUSSIAN[:, :, None]}]}
    tree_draws = record(tree, LOG_WEIGHT)
    figure = plots.pair_plot(tree_draws, max_columns=3)
    drawn(figure, tmp_path)
    assert [axes.get_xlabel() for axes in figure.axes[6:]] == ["mu", "rest.0[0]", "rest.1.b[0, 0]"]
    with pytest.raises(
        ValueError, match=r"one leading axis, but has leaves \{\"\['mu'\]\": \(9,\)"
    ):
        plots.pair_plot(tree_draws, truth={"mu": np.zeros(9)})
    with pytest.raises(ValueError, match="max_columns must be at least 1, but got 0"):
        plots.pair_plot(tree_draws, max_columns=0)


def test_levels_show_the_record_of_the_steps(gaussian_draws, tmp_path):
    log_snr = np.append(np.linspace(-3, 3, 5), np.inf)
    ess = np.append(np.linspace(9, 1.5, 5), np.nan)
    cheap_draws = record(GAUSSIAN, LOG_WEIGHT, ess=ess, acceptance_rate=NONE * ess, log_snr=log_snr)
    figure = plots.level_plot(cheap_draws)
    drawn(figure, tmp_path)
    upper, lower = figure.axes
    median = upper.lines[
        [line.get_label() for line in upper.lines].index("median of the particles")
    ]
    np.testing.assert_array_equal(median.get_ydata(), cheap_draws.info.ess_median)
    assert "no accept or reject" in lower.texts[0].get_text()  # importance sampling alone
    ticks = [text.get_text() for text in lower.get_xticklabels()]
    assert ticks[0] == "1\n(-3.0)" and ticks[2] == "3\n(0.0)" and "finish" in ticks[-1]
    one = plots.level_plot(gaussian_draws)
    drawn(one, tmp_path)
    np.testing.assert_array_equal(
        one.axes[1].lines[0].get_ydata(), gaussian_draws.info.acceptance_rate
    )
    none = dataclasses.replace(
        weightless(gaussian_draws), info=jax.tree.map(lambda a: a * np.nan, gaussian_draws.info)
    )
    assert "no inner samples" in plots.level_plot(none).axes[0].texts[0].get_text()


def test_weights_are_sorted_and_the_fit_goes_through_their_tail(two_clusters, tmp_path):
    figure = plots.weight_plot(two_clusters)
    drawn(figure, tmp_path)
    (axes,) = figure.axes
    points, _, fit = axes.lines
    np.testing.assert_allclose(
        points.get_xdata(), np.sort(two_clusters.weights)[::-1] * NUM, rtol=1e-9
    )
    np.testing.assert_allclose(points.get_ydata(), np.arange(1, NUM + 1) / NUM)
    tail = pareto_tail(np.asarray(two_clusters.log_weight))
    assert fit.get_xdata()[-1] == pytest.approx(tail.threshold)
    assert f"ESS {two_clusters.ess:.0f} of 2000, Pareto k {tail.k:.2f}" in axes.get_title()


def test_the_fitted_law_is_that_of_the_weights():
    # Pareto weights, k = 1/2: the excess over a threshold is generalised Pareto, scale = k · it
    w = (1 - (np.arange(NUM) + 0.5) / NUM) ** -0.5
    tail = pareto_tail(np.log(w))
    np.testing.assert_allclose(tail.k, 0.5, atol=0.1)
    np.testing.assert_allclose(tail.scale, 0.5 * tail.threshold, rtol=0.15)
    np.testing.assert_allclose(excess(tail, np.array([0.5])), tail.threshold * 0.414, rtol=0.15)


def test_draws_without_weights_of_their_own_are_refused(two_clusters, tmp_path):
    none = weightless(two_clusters)
    with pytest.raises(ValueError, match=r"weight_plot needs weights.*rdmc_jax.sample\(\)"):
        plots.weight_plot(none)
    drawn(plots.pair_plot(none), tmp_path)
    figure = plots.replicate_plot(none)
    drawn(figure, tmp_path)
    assert [axes.get_ylabel() for axes in figure.axes] == ["weight"]
    again = two_clusters.resample(jax.random.key(0))
    for plot in (plots.weight_plot, plots.replicate_plot):
        with pytest.raises(ValueError, match="resampled and weigh the same"):
            plot(again)
    with pytest.raises(ValueError, match="all 2000 are zero"):
        plots.weight_plot(with_weights(two_clusters, np.full(NUM, -np.inf)))


def test_replicates_show_log_z_and_the_clusters(two_clusters, tmp_path):
    figure = plots.replicate_plot(two_clusters)
    drawn(figure, tmp_path)
    left, right = figure.axes
    log_weight, replicate = (
        np.asarray(leaf) for leaf in (two_clusters.log_weight, two_clusters.replicate)
    )
    values = [log_mean_exp(log_weight[replicate == one]) for one in np.unique(replicate)]
    pooled, own = left.lines[0], left.containers[0].lines[0]
    np.testing.assert_allclose(own.get_ydata(), values)
    assert pooled.get_ydata()[0] == two_clusters.log_normalizer
    (band,) = left.patches
    corners = band.get_y(), band.get_y() + band.get_height()
    np.testing.assert_allclose(corners, two_clusters.log_normalizer_interval())
    is_right = np.asarray(two_clusters.position)[:, :1] > 0
    shares, _ = part_weights(np.append(is_right, ~is_right, axis=1), log_weight, replicate)
    heights = [bar.get_height() for bar in right.patches]
    assert heights[0] == pytest.approx(two_clusters.weights @ is_right[:, 0])
    points = [container.lines[0].get_ydata() for container in right.containers[1:]]
    np.testing.assert_allclose(points, shares)


def test_a_replicate_without_weight_is_said_to_have_none(gaussian_draws, tmp_path):
    is_first = np.asarray(gaussian_draws.replicate) == 0
    figure = plots.replicate_plot(with_weights(gaussian_draws, np.where(is_first, -np.inf, 0.0)))
    drawn(figure, tmp_path)
    assert figure.axes[0].texts[0].get_text() == "−∞"
    assert "cell" in figure.axes[1].get_xlabel()  # one cluster: the cells of finding R112
    alone = dataclasses.replace(gaussian_draws, replicate=np.zeros(NUM, int))
    figure = plots.replicate_plot(alone)
    drawn(figure, tmp_path)
    assert "unchecked" in figure.axes[0].get_title() and not figure.axes[0].patches


def test_without_matplotlib_the_extra_is_named(gaussian_draws, monkeypatch):
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"rdmc_jax\[plot\]"):
        plots.level_plot(gaussian_draws)


def test_the_detection_plot_has_a_curve_for_each_share_and_the_limit():
    log_excess = np.log(WIDTHS)[None, :] - np.log(np.linspace(0.01, 0.05, 40))[:, None]
    draws = record(RNG.normal(size=(NUM, 2)), np.zeros(NUM))
    with pytest.raises(ValueError, match="candidates"):
        plots.detection_plot(draws)
    seen = dataclasses.replace(
        draws, detection=Detection(log_excess, -np.inf * np.ones_like(log_excess), np.ones(2))
    )
    (axes,) = plots.detection_plot(seen).axes
    curves = [line for line in axes.lines if len(line.get_xdata()) > 100]
    assert [line.get_label() for line in curves] == [f"{s} of the mass" for s in (0.5, 0.1, 0.01)]
    for line, share in zip(curves, (0.5, 0.1, 0.01), strict=True):
        x, y = line.get_data()
        np.testing.assert_allclose(y[50], seen.detection_probability(share, float(x[50])))
        assert y[0] <= y[-1]
    (limit,) = [line for line in axes.lines if line.get_label() == "detection limit"]
    np.testing.assert_allclose(limit.get_xdata(), seen.detection_limit)
