"""Parts that cannot be written, or were damaged or swapped, are named and made again."""

import dataclasses
import io
import os

import jax
import numpy as np
import pytest
from checkpoint_runs import NUM_PARTS, SIZE, files, same, unequal
from targets import CHEAP_METHOD, ORIGIN, cheap, density, target

import rdmc_jax as rj
from rdmc_jax.runs import checkpoint
from rdmc_jax.runs.checkpoint import digest, open_checkpoint, read_part, write_part
from rdmc_jax.runs.run import bound_programs

pytestmark = pytest.mark.one_program


def test_a_full_disk_loses_no_draws(whole, tmp_path, monkeypatch):
    def full(*names):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "replace", full)
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

    monkeypatch.setattr(checkpoint.os, "replace", filling)
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


def test_what_was_made_of_a_pool_that_changed_is_made_again(whole, copy):
    """Another machine may make a lost preparation anew with other last bits."""
    part = read_part(copy / "replicate0.npz")
    moved = [leaf + 0.5 if k == 0 else leaf for k, leaf in enumerate(part.leaves)]  # the location
    write_part(copy / "replicate0.npz", part._replace(leaves=moved))
    with pytest.warns(rj.RDMCWarning, match=r"\[R121\].*another method or pool") as caught:
        draws = cheap(**SIZE, checkpoint=copy)
    named = [f"replicate0-ensemble{k}.npz" for k in range(5)]
    assert all(name in str(one.message) for name, one in zip(named, caught, strict=True))
    is_first = np.asarray(draws.replicate) == 0
    is_equal = np.all(draws.position == whole.position, axis=1)
    np.testing.assert_array_equal(is_equal, ~is_first)  # nothing of the old pool is left
    same(cheap(**SIZE, checkpoint=copy), draws)


def test_a_pilot_is_not_taken_for_one_of_another_pool_or_method(tmp_path):
    data = target()
    store = open_checkpoint(tmp_path, jax.random.key(0), density, ORIGIN, data, {})
    programs = bound_programs(density, ORIGIN, data, None, mesh=None, store=store)
    recipe = rj.plan(dim=2, method=CHEAP_METHOD).recipe
    prepared = programs.prepare("replicate0", jax.random.key(0), recipe)
    keys, names = jax.random.key(1)[None], ["replicate0-pilot0"]
    first = programs.ensembles(names, keys, prepared, CHEAP_METHOD)[0]
    again = programs.ensembles(names, keys, prepared, CHEAP_METHOD)[0]
    np.testing.assert_array_equal(again.position, first.position)
    grown = prepared._replace(location=prepared.location + 0.5)
    with pytest.warns(rj.RDMCWarning, match=r"replicate0-pilot0.*another method or pool"):
        other = programs.ensembles(names, keys, grown, CHEAP_METHOD)[0]
    assert not np.any(other.position == first.position)
    finish = rj.samplers.annealed_finish(num_temperatures=2)
    assert digest(CHEAP_METHOD) != digest(dataclasses.replace(CHEAP_METHOD, finish=finish))
