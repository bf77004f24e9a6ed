"""Runs that are killed, interrupted, out of disk or damaged lose nothing that was finished."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_targets import CALLS, CHEAP_METHOD, ORIGIN, cheap, default, density, target
from test_driver import Interrupted, same

import rdmc_jax as rj
from rdmc_jax import parts

SIZE = {"num_samples": 600, "num_replicates": 2}
"""2 replicates of 5 ensembles."""
NUM_PARTS = 2 + 2 * 5

KILLED = """
import os, signal, sys
from rdmc_jax import parts
from api_targets import cheap
import jax
jax.config.update("jax_numpy_rank_promotion", "raise")
replace, count = os.replace, 0

def replace_or_die(*names):
    global count
    count += 1
    if count == 10:  # the record, two preparations and six ensembles are there
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*names)

parts.os.replace = replace_or_die
cheap(600, num_replicates=2, checkpoint=sys.argv[1])
"""


def files(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def unequal(a, b):
    return {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)}


@pytest.fixture(scope="module")
def whole():
    return cheap(**SIZE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    cheap(**SIZE, checkpoint=folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """A folder of the finished run, to do damage to."""
    for name, content in files(finished).items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


RUN = """
import sys
import jax
import numpy as np
from api_targets import cheap
jax.config.update("jax_numpy_rank_promotion", "raise")
draws = cheap(600, num_replicates=2, checkpoint=sys.argv[1])
assert draws.complete
np.savez(sys.argv[2], position=draws.position, log_weight=draws.log_weight, bad=draws.num_nonfinite)
"""


def in_a_process(script, *arguments):
    """A script as a user starts it: what else a process compiled may change the last bits."""
    paths = [str(Path(__file__).parent), *sys.path]
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
    from rdmc_jax import stages

    def never(*arguments, **options):
        raise AssertionError

    never.eval_shape = stages._ensembles.eval_shape
    monkeypatch.setattr(stages, "_ensembles", never)
    before = dict(CALLS)
    again = cheap(**SIZE, checkpoint=str(copy))
    same(again, whole)
    assert before == CALLS  # no program is made again, either
    for a, b in zip(jax.tree.leaves(again.info), jax.tree.leaves(whole.info), strict=True):
        np.testing.assert_array_equal(a, b)


def test_interrupted_and_completed_later(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Interrupted("3/10"))
    part = cheap(**SIZE, progress=True, checkpoint=tmp_path)
    monkeypatch.undo()
    assert not part.complete and part.num_samples == 3 * 64
    np.testing.assert_array_equal(part.position, whole.position[: 3 * 64])
    assert len(list(tmp_path.glob("*.npz"))) == 1 + 3
    later = cheap(**SIZE, checkpoint=tmp_path)
    assert later.complete
    same(later, whole)


@pytest.mark.parametrize("text", ["1/2", "2/2"])
def test_the_decision_about_the_budget_is_kept(text, tmp_path, monkeypatch):
    # four modes, so that the discarded ensemble says something; two replicates of one ensemble
    from api_targets import GMM4_DATA

    never_stopped = default(data=GMM4_DATA)
    monkeypatch.setattr(sys, "stderr", Interrupted(text))
    default(data=GMM4_DATA, progress=True, checkpoint=tmp_path)
    monkeypatch.undo()
    assert (tmp_path / "discarded.npz").exists()
    resumed = default(data=GMM4_DATA, checkpoint=tmp_path)
    same(resumed, never_stopped)
    assert resumed.plan == never_stopped.plan and "discarded ensemble" in resumed.plan.reason


def test_chunks_of_another_size_find_what_is_finished(whole, copy):
    (copy / "replicate1-ensemble4.npz").unlink()
    again = cheap(**SIZE, checkpoint=copy, chunk_size=128)
    # ensembles 4 is a chunk of its own for both sizes
    same(again, whole)


def denser(x, data):
    return density(x, data) + 1e-3 * x[0]


CHANGED = {
    "num_samples": ({"num_samples": 601}, "num_samples (was 600, is 601)"),
    "key": ({"key": jax.random.key(1)}, "rng_key"),
    "data": ({"data": target(mean=((1.0, 0.0),))}, "data"),
    "position": ({"position": jnp.ones(2)}, "position"),
    "known": ({"known_positions": jnp.zeros((1, 2))}, "known_positions"),
    "replicates": ({"num_replicates": 3}, "plan"),
    "density": ({"logdensity_fn": denser}, "the density (was "),
    "method": (
        {
            "method": rj.rdmc(
                rj.gaussian(num_particles=64),
                rj.levels(rj.log_snr_grid(4, low=-3.0, high=3.0), rj.importance(num_samples=17)),
                rj.gaussian_finish(),
            )
        },
        "plan",
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_another_run_is_refused(name, copy):
    change, words = CHANGED[name]
    options = {
        "key": jax.random.key(0),
        "logdensity_fn": density,
        "position": ORIGIN,
        "data": target(),
        "method": CHEAP_METHOD,
        **SIZE,
        **change,
    }
    before = files(copy)
    first = [options.pop(one) for one in ("key", "logdensity_fn", "position", "num_samples")]
    with pytest.raises(ValueError, match="holds another run: changed since are") as caught:
        rj.sample(*first, **options, checkpoint=copy)
    text = str(caught.value)
    assert words in text and "name another folder" in text and str(copy) in text
    assert files(copy) == before


def test_a_full_disk_loses_no_draws(whole, tmp_path, monkeypatch):
    def full(*names):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts.os, "replace", full)
    with pytest.warns(rj.RDMCWarning, match=r"\[R120\].*could not be written.*No space") as caught:
        draws = cheap(**SIZE, checkpoint=tmp_path)
    assert len(caught) == 1
    same(draws, whole)
    assert draws.complete and files(tmp_path) == {}  # no halves are left lying about
    monkeypatch.undo()
    same(cheap(**SIZE, checkpoint=tmp_path), whole)
    assert len(files(tmp_path)) == NUM_PARTS + 1


def test_a_disk_that_fills_up_keeps_what_was_written(whole, tmp_path, monkeypatch):
    replace, count = os.replace, []

    def filling(*names):
        count.append(names)
        if len(count) > 6:
            raise OSError(28, "No space left on device")
        replace(*names)

    monkeypatch.setattr(parts.os, "replace", filling)
    with pytest.warns(rj.RDMCWarning, match="R120"):
        same(cheap(**SIZE, checkpoint=tmp_path), whole)
    monkeypatch.undo()
    assert len(files(tmp_path)) == 6
    same(cheap(**SIZE, checkpoint=tmp_path), whole)


def flipped(content):
    """One bit of an array; bits of the archive's own padding would harm nothing."""
    with np.load(io.BytesIO(content)) as members:
        largest = max((members[name].tobytes() for name in members.files), key=len)
    middle = content.index(largest) + len(largest) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE = {
    "truncated": lambda content: content[:-100],
    "one bit": flipped,
    "empty": lambda content: b"",
    "text": lambda content: b"not an archive",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("part", ["replicate0.npz", "replicate1-ensemble2.npz"])
def test_damaged_parts_are_named_and_made_again(part, damage, whole, copy):
    before = files(copy)
    (copy / part).write_bytes(DAMAGE[damage](before[part]))
    with pytest.warns(rj.RDMCWarning, match=rf"\[R121\].*{part}.*computed again") as caught:
        same(cheap(**SIZE, checkpoint=copy), whole)
    assert len(caught) == 1
    assert unequal(files(copy), before) <= {part}
    same(cheap(**SIZE, checkpoint=copy), whole)  # mended: and a warning would be an error here


def test_a_part_under_the_name_of_another_is_not_used(whole, copy):
    before = files(copy)
    (copy / "replicate0-ensemble1.npz").write_bytes(before["replicate0-ensemble0.npz"])
    with pytest.warns(rj.RDMCWarning, match=r"replicate0-ensemble1.npz does not have its checksum"):
        same(cheap(**SIZE, checkpoint=copy), whole)


def test_a_part_of_another_run_is_not_used(whole, copy, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    cheap(64, seed=1, num_replicates=1, checkpoint=other)
    (copy / "replicate0-ensemble0.npz").write_bytes(
        (other / "replicate0-ensemble0.npz").read_bytes()
    )
    with pytest.warns(rj.RDMCWarning, match="ensemble0.npz belongs to another run"):
        same(cheap(**SIZE, checkpoint=copy), whole)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", None])
def test_a_damaged_record_is_taken_from_the_parts(content, whole, copy):
    record = copy / "run.json"
    before = record.read_bytes()
    if content is None:
        record.unlink()
        same(cheap(**SIZE, checkpoint=copy), whole)
    else:
        record.write_bytes(content)
        with pytest.warns(rj.RDMCWarning, match=r"\[R121\].*run.json is damaged"):
            same(cheap(**SIZE, checkpoint=copy), whole)
    assert record.read_bytes() == before
    record.write_bytes(b"")
    with (
        pytest.warns(rj.RDMCWarning, match="damaged"),
        pytest.raises(ValueError, match="another run"),
    ):
        cheap(**SIZE, seed=1, checkpoint=copy)


def test_the_record_says_what_the_run_is(finished):
    record = json.loads((finished / "run.json").read_text())
    assert record["shown"] == {"num_samples": 600} and len(record["density"]) == 16
    assert record["density"][0] == pytest.approx(-np.log(2 * np.pi), rel=1e-6)


def test_paths_that_are_none(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ValueError, match="is a file, but must name a folder"):
        cheap(64, checkpoint=file)
    assert file.read_text() == "mine"
    with pytest.raises(TypeError, match="checkpoint must be the path of a folder, but got True"):
        cheap(64, checkpoint=True)
