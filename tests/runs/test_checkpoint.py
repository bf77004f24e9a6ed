"""Runs that are killed or interrupted lose nothing that was finished."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from checkpoint_runs import NUM_PARTS, SIZE, Interrupted, files, same
from targets import CALLS, cheap, default

from rdmc_jax.runs import run
from rdmc_jax.runs.run import _ensembles

pytestmark = pytest.mark.one_program

KILLED = """
import os, signal, sys

from targets import cheap
import jax
jax.config.update("jax_numpy_rank_promotion", "raise")
replace, count = os.replace, 0

def replace_or_die(*names):
    global count
    count += 1
    if count == 10:  # the record, two preparations and six ensembles are there
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*names)

os.replace = replace_or_die
cheap(600, num_replicates=2, checkpoint=sys.argv[1])
"""
RUN = """
import sys
import jax
import numpy as np
from targets import cheap
jax.config.update("jax_numpy_rank_promotion", "raise")
draws = cheap(600, num_replicates=2, checkpoint=sys.argv[1])
assert draws.complete
np.savez(sys.argv[2], position=draws.position, log_weight=draws.log_weight, bad=draws.num_nonfinite)
"""


def in_a_process(script, *arguments):
    """A script as a user starts it: what else a process compiled may change the last bits."""
    paths = [str(Path(__file__).parents[1]), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_killed_and_resumed_is_never_stopped(tmp_path):
    folder, without = tmp_path / "killed", tmp_path / "never"
    killed = in_a_process(KILLED, folder)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = files(folder)
    assert sum(name.endswith(".npz") for name in before) == 2 + 6
    for place, result in ((folder, "resumed.npz"), (without, "whole.npz")):
        done = in_a_process(RUN, place, tmp_path / result)
        assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "resumed.npz") as resumed, np.load(tmp_path / "whole.npz") as never:
        assert set(resumed.files) == set(never.files)
        for name in never.files:
            np.testing.assert_array_equal(resumed[name], never[name])
    after = files(folder)
    assert all(after[name] == content for name, content in before.items())  # nothing written twice
    assert sum(name.endswith(".npz") for name in after) == NUM_PARTS


def test_a_checkpoint_changes_no_number_and_a_finished_one_runs_nothing(whole, copy, monkeypatch):

    def never(*arguments, **options):
        raise AssertionError

    never.eval_shape = _ensembles.eval_shape
    monkeypatch.setattr(run, "_ensembles", never)
    before = dict(CALLS)
    again = cheap(**SIZE, checkpoint=str(copy))
    same(again, whole)
    # the density is traced once, to compare it; no other program is made again, either
    assert {**before, "traced": before["traced"] + 1} == CALLS
    for a, b in zip(jax.tree.leaves(again.info), jax.tree.leaves(whole.info), strict=True):
        np.testing.assert_array_equal(a, b)


def test_interrupted_and_completed_later(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Interrupted("3/10"))
    part = cheap(**SIZE, progress=True, checkpoint=tmp_path)
    monkeypatch.undo()
    assert not part.complete and part.num_samples == 3 * 64
    np.testing.assert_array_equal(part.position, whole.position[: 3 * 64])
    # both preparations come before the first draw
    assert len(list(tmp_path.glob("*.npz"))) == 2 + 3
    later = cheap(**SIZE, checkpoint=tmp_path)
    assert later.complete
    same(later, whole)


@pytest.mark.parametrize("text", ["1/2", "2/2"])
def test_the_fit_and_the_decision_about_sizes_are_kept(text, tmp_path, monkeypatch):
    # a tolerance that asks for candidates; two replicates of one ensemble
    from targets import GMM4_DATA, TOLERANCE

    asked = {"data": GMM4_DATA, "seed": 1, "tolerance": TOLERANCE}
    never_stopped = default(**asked)
    monkeypatch.setattr(sys, "stderr", Interrupted(text))
    default(**asked, progress=True, checkpoint=tmp_path)
    monkeypatch.undo()
    for part in ("fit", "pilot1"):
        assert all((tmp_path / f"replicate{k}-{part}.npz").exists() for k in (0, 1))
    before = files(tmp_path)
    resumed = default(**asked, checkpoint=tmp_path)
    same(resumed, never_stopped)
    assert resumed.plan == never_stopped.plan and len(resumed.plan.trials) > 1
    after = files(tmp_path)
    assert all(after[name] == content for name, content in before.items())


def test_chunks_of_another_size_find_what_is_finished(whole, copy):
    (copy / "replicate1-ensemble4.npz").unlink()
    again = cheap(**SIZE, checkpoint=copy, chunk_size=128)
    # ensembles 4 is a chunk of its own for both sizes
    same(again, whole)
