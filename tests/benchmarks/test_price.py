"""The price of an answer: what is counted, what a row says, and which rows are kept."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdmc_jax as rj
from benchmarks.comparison import peers, price
from benchmarks.comparison.peers import PEERS, Box, CountedDensity, Result, box_of
from benchmarks.harness.truth import mode_floor
from rdmc_jax import problems

TINY = problems.two_modes(2)


def counting(problem):
    """The problem, and a list that grows by one with each evaluation of a point."""
    calls = []

    def logdensity_fn(x):
        jax.debug.callback(lambda _: calls.append(1), x)  # once for each row
        return problem.logdensity_fn(x)

    return problem._replace(logdensity_fn=logdensity_fn), calls


def test_rows_are_counted_and_padding_is_not():
    density = CountedDensity(TINY)
    rows = np.asarray(TINY.sample(jax.random.key(0), 11), np.float64)
    expected = jax.vmap(TINY.logdensity_fn)(jnp.asarray(rows, jnp.float32))
    for num, total in ((5, 5), (8, 13), (7, 20), (11, 31), (0, 31)):
        np.testing.assert_allclose(density(rows[:num]), expected[:num], rtol=1e-5)
        assert density.num_evals == total
    assert density._batch._cache_size() == 2  # 8 and 16 rows
    assert density.one(rows[0]) == pytest.approx(float(expected[0]), rel=1e-5)
    assert density.num_evals == 32


def test_no_density_is_a_number_that_samplers_can_sort():
    nowhere = TINY._replace(logdensity_fn=lambda x: jnp.where(x[0] > 0, jnp.nan, -jnp.inf))
    assert CountedDensity(nowhere)(np.array([[1.0, 0.0], [-1.0, 0.0]])).tolist() == 2 * [
        peers.WORST
    ]


def test_positions_are_trees_again():
    problem = problems.exoplanet()
    rows = np.arange(8.0).reshape(2, 4)
    result = CountedDensity(problem).result(rows, np.zeros(2), 1.0, 0)
    assert set(result.position) == set(problem.position)
    assert peers.rows_of(result.position).tolist() == rows.tolist()


def test_the_box_has_a_margin_of_a_quarter_of_the_draws():
    rows = np.asarray(TINY.sample(jax.random.key(123), peers.NUM_EXACT), np.float64)
    box = box_of(TINY)
    np.testing.assert_allclose(box.high - box.low, 1.5 * np.ptp(rows, axis=0))
    np.testing.assert_allclose(box.low + box.high, rows.min(0) + rows.max(0))
    assert box.log_volume == pytest.approx(np.log(np.prod(box.high - box.low)))
    np.testing.assert_allclose(box.point(np.array([[0.0, 0.0], [1.0, 1.0]])), box)
    assert box_of(problems.galaxy()).low.shape == (6,)  # without exact draws


def test_effective_draws():
    assert peers.weight_ess(np.log([1.0, 1.0, 2.0]) - 700) == pytest.approx(16 / 6)
    assert peers.weight_ess([0.0, -np.inf]) == 1
    pytest.importorskip("numpyro")
    chains = np.random.default_rng(0).normal(size=(4, 500, 2))
    # chains that stay in their modes know the weights from four draws
    modes = np.repeat([[0], [0], [1], [1]], 500, axis=1)
    assert peers.chains_ess(chains) > 1000 > 10 > peers.chains_ess(chains, modes)
    assert peers.chains_ess(chains, 0 * modes) == peers.chains_ess(chains)


def test_a_row_of_sample_has_all_evaluations_and_errors(monkeypatch):
    num_samples = 64
    method = rj.rdmc(  # compiles sooner than the default
        rj.samplers.gaussian_start(num_particles=num_samples),
        rj.samplers.levels(rj.diffusion.log_snr_grid(4), rj.estimators.importance(num_samples=16)),
        rj.samplers.annealed_finish(num_temperatures=4),
    )
    monkeypatch.setattr(rj, "sample", functools.partial(rj.sample, method=method))
    result = price.of_sample(TINY, num_samples)(0)
    draws = rj.sample(jax.random.key(0), TINY.logdensity_fn, jnp.zeros(2), num_samples)
    row = price.measured(TINY, result)
    assert row["num_evals"] == max(draws.num_evals) > 64
    assert row["num_draws"] == num_samples and row["ess"] == draws.ess
    assert row["log_z"] == pytest.approx(draws.log_normalizer - TINY.log_normalizer)
    right = float(draws.weights @ (np.asarray(jax.vmap(TINY.mode_fn)(draws.position)) == 0))
    assert row["modes"] == pytest.approx(abs(right - TINY.mode_weights[0]), abs=1e-5)
    num_exact = max(1, round(draws.ess))
    assert row["modes_limit"] == 2 * mode_floor(TINY.mode_weights, num_exact)
    assert row["findings"] == sorted({code for code, _ in draws.findings()})


def test_a_row_without_truth_has_no_error():
    result = Result(jnp.zeros((3, 2)), None, None, 7, 1e6)
    row = price.measured(TINY, result)
    assert row["modes_limit"] == 2 * mode_floor(TINY.mode_weights, 2000)
    assert row["log_z"] is None and row["modes"] is not None
    unknown = TINY._replace(log_normalizer=None, mode_fn=None, mode_weights=None)
    row = price.measured(unknown, result._replace(log_normalizer=1.0))
    assert row["log_z"] is row["modes"] is row["modes_limit"] is None and row["num_evals"] == 7


def test_more_draws_are_asked_for_once():
    asked = []

    def attempt(num, failure=None):
        asked.append(num)
        return {"failure": failure, "ess": 0.8 * num}

    assert price.until_enough(attempt)["ess"] == 0.8 * 2750
    assert asked == [2000, 2750]
    asked.clear()
    assert price.until_enough(lambda num: attempt(num, "time-out"))["failure"] == "time-out"
    assert asked == [2000]


def test_which_rows_are_kept(monkeypatch):
    options = types.SimpleNamespace(time_limit=100, untimed=False)
    row = {"problem": "gmm4", "method": "nautilus", "seed": 0, "time_limit": 50, "failure": None}
    assert price.is_kept(row, options) and price.is_kept(row | {"failure": "ValueError"}, options)
    assert not price.is_kept(row | {"failure": "time-out"}, options)
    assert price.is_kept(row | {"failure": "time-out", "time_limit": 100}, options)
    assert not price.is_kept(row | {"seconds_cold": None}, options)
    assert price.is_kept(row | {"seconds_cold": None}, types.SimpleNamespace(untimed=True))
    for version in (None, "1"):
        monkeypatch.setattr(price, "version_of", lambda _, version=version: version)
        assert price.is_kept(row | {"failure": "not installed"}, options) == (version is None)
    new, other = row | {"ess": 3}, row | {"seed": 1}
    assert price.replaced([row, other], new) == [other, new]


def test_a_process_without_an_answer_says_why():
    request = {"method": "sample", "problem": "nothing", "seed": 0, "num_samples": 8}
    assert price.in_process(request, 100)["failure"] == "KeyError: 'nothing'"
    assert price.in_process(request, 0.01)["failure"] == price.TIME_OUT


def test_the_table_has_medians_and_marks_what_is_wrong():
    head = {"problem": "gmm4", "failure": None, "time_limit": 9, "modes_limit": 0.05}
    right = {"num_evals": 12_345, "ess": 2100.0, "log_z": -0.01, "modes": 0.01}
    right |= {"seconds_cold": 12.3, "seconds_compiled": 0.5}
    rows = [head | right | {"method": "sample", "seed": seed} for seed in range(3)]
    rows[0] |= {"log_z": -2.0, "num_evals": 1}
    rows += [head | right | {"method": "nautilus", "seed": 0, "log_z": 0.2}]
    rows += [head | {"method": "dynesty", "seed": 0, "failure": "time-out"}]
    text = price.table({"records": rows})
    assert "| `gmm4` | 12k, 2,100 | wrong: 12k, 2,100 | none in 9 s |" in text
    assert price.is_wrong([{"log_z": None, "modes": None, "ess": 9.0}])  # too few draws to judge
    assert not price.is_wrong([{"log_z": None, "modes": None, "ess": 10.0}])
    assert "| `gmm4` | 0.010, 0.010 | 0.200, 0.010 | none in 9 s |" in text
    assert "| `gmm4` | 12, 0.50 | 12, 0.50 | none in 9 s |" in text


@pytest.mark.parametrize("name", ["smc", "nuts"])
def test_counts_of_peers_are_the_evaluations_that_were_done(name, monkeypatch):
    pytest.importorskip(PEERS[name].distribution)
    for constant, value in (("NUM_PARTICLES", 8), ("NUM_CHAINS", 1), ("NUM_WARMUP", 20)):
        monkeypatch.setattr(peers, constant, value)
    problem, calls = counting(TINY)
    with jax.numpy_rank_promotion("allow"):
        run = PEERS[name].make(problem, box_of(TINY))
        for seed in range(2):
            calls.clear()
            result = run(seed)
            jax.effects_barrier()
            assert result.num_evals == len(calls) > 100


@pytest.mark.parametrize("name", ["dynesty", "ultranest"])
def test_nested_samplers_find_the_normaliser(name):
    pytest.importorskip(name)
    problem = problems.gaussian_scales((0.1, 10.0))
    result = PEERS[name].make(problem, box_of(problem))(0)
    assert result.log_normalizer == pytest.approx(problem.log_normalizer, abs=0.5)
    assert result.ess > 400 and result.num_evals > 1000


def test_boxes_travel_as_text():
    box = box_of(TINY)
    again = Box(*(np.asarray(corner) for corner in [*map(np.ndarray.tolist, box)]))
    assert all(map(np.array_equal, again, box))
