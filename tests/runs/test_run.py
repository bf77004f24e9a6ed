"""The loop on the host: keys, chunks, replicates, progress and interruption."""

import io
import sys

import jax
import numpy as np
import pytest
from checkpoint_runs import Interrupted, same
from targets import CHEAP_METHOD, ORIGIN, cheap, density, target

import rdmc_jax as rj
from rdmc_jax.runs.run import shares_of


def test_raw_keys_are_typed_keys():
    raw = jax.random.PRNGKey(0)
    for key in (raw, np.asarray(raw)):
        same(
            cheap(256),
            rj.sample(key, density, ORIGIN, 256, data=target(), method=CHEAP_METHOD),
        )


def test_keys_matter_and_repeat():
    same(cheap(256), cheap(256))
    assert not np.array_equal(cheap(256).position, cheap(256, seed=1).position)


def test_first_draws_stay_when_more_are_asked_for():
    few, many = cheap(300, num_replicates=2), cheap(5000, num_replicates=2)
    for replicate in (0, 1):
        a, b = (d.position[np.asarray(d.replicate) == replicate] for d in (few, many))
        np.testing.assert_array_equal(a, b[: len(a)])
    assert np.unique(np.asarray(many.position), axis=0).shape == (5000, 2)  # no key twice
    assert np.bincount(cheap(5000).replicate).tolist() == [1250] * 4


@pytest.mark.parametrize("num_replicates", [None, 1, 3, 4, 7])
def test_as_many_draws_as_were_asked_for(num_replicates):
    for num_samples in (7, 11, 191, 1999, 3999, 5003, 7998, 7999, 8001, 11999):
        plan = rj.plan(dim=2, num_samples=num_samples, num_replicates=num_replicates)
        shares = shares_of(num_samples, plan)
        assert sum(shares) == num_samples and len(shares) == plan.num_replicates
        assert max(shares) <= plan.recipe.num_ensembles * plan.num_particles
        # no more ensembles than equal shares need
        assert plan.recipe.num_ensembles == -(-num_samples // plan.num_replicates) // -1000 * -1


def test_the_last_replicate_takes_the_rest_if_its_ensembles_hold_it():
    assert np.bincount(cheap(11, num_replicates=3).replicate).tolist() == [3, 3, 5]
    assert np.bincount(cheap(191, num_replicates=3).replicate).tolist() == [63, 64, 64]


@pytest.mark.parametrize("chunk_size", [1, 192])
def test_chunk_size_changes_execution_only(chunk_size):
    whole, chunked = (
        cheap(1000, num_replicates=1),
        cheap(1000, num_replicates=1, chunk_size=chunk_size),
    )
    close = np.isclose(whole.position, chunked.position, rtol=1e-3, atol=1e-3)
    assert np.mean(np.all(close, axis=1)) >= 0.95
    assert abs(whole.log_normalizer - chunked.log_normalizer) < 3 * whole.log_normalizer_error
    assert whole.num_evals == chunked.num_evals


def test_progress_prints_lines_and_changes_no_number(capsys):
    silent = cheap(1000)
    assert capsys.readouterr() == ("", "")
    shown = cheap(1000, progress=True)
    out, err = capsys.readouterr()
    same(silent, shown)
    lines = err.splitlines()
    assert out == "" and 3 <= len(lines) <= 12
    assert "compiling" in lines[0] and "16 ensembles" in lines[0]
    assert "16/16" in lines[-1] and "log Z" in lines[-1] and "ESS" in lines[-1]


def test_interruption_returns_what_is_finished(monkeypatch):
    whole = cheap(600, num_replicates=2)  # 2 replicates of 5 ensembles
    monkeypatch.setattr(sys, "stderr", Interrupted("7/10"))
    part = cheap(600, num_replicates=2, progress=True)
    monkeypatch.undo()
    assert part.complete is False and part.num_samples == 300 + 2 * 64
    np.testing.assert_array_equal(part.position, whole.position[: 300 + 2 * 64])
    assert np.bincount(part.replicate).tolist() == [300, 128]
    assert "R101" in [code for code, _ in part.findings()]
    assert part.num_evals.logdensity < whole.num_evals.logdensity
    log_weight = np.asarray(part.log_weight, float)
    assert part.log_normalizer == pytest.approx(np.log(np.mean(np.exp(log_weight))), abs=1e-5)


def test_interruption_before_any_ensemble_is_an_interruption(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Interrupted("compiling"))
    with pytest.raises(KeyboardInterrupt):
        cheap(600, progress=True)


class Terminal(io.StringIO):
    """Standard error of somebody who watches."""

    def isatty(self):
        return True


def test_a_terminal_has_a_bar_and_the_same_numbers(monkeypatch):
    silent = cheap(1000)
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = cheap(1000, progress=True)
    text = sys.stderr.getvalue()
    monkeypatch.undo()
    same(silent, shown)
    assert "rdmc (compiling)" in text and "16/16" in text and "ensemble" in text
    last = text.split("\r")[-1]
    # of all 1,024 particles, of which 1,000 are kept
    assert "log Z" in last and "of 1024, non-finite 0" in last


def test_without_tqdm_a_terminal_has_lines(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "stderr", Terminal())
    cheap(1000, progress=True)
    text = sys.stderr.getvalue()
    monkeypatch.undo()
    assert "\r" not in text and "rdmc: 16/16 log Z" in text


def test_progress_counts_what_is_not_finite(capsys):
    draws = cheap(256, progress=True, data=target(bound=0.0))
    last = capsys.readouterr().err.splitlines()[-1]
    made = int(np.sum(draws.info.num_nonfinite))
    assert made > 0 and last.endswith(f"non-finite {made:,}")
