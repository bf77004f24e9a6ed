"""A folder of another run is refused, and says what changed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_runs import SIZE, files
from targets import CHEAP_METHOD, ORIGIN, cheap, density, target

import rdmc_jax as rj
from rdmc_jax.runs.checkpoint import open_checkpoint

pytestmark = pytest.mark.one_program


def denser(x, data):
    return density(x, data) + 1e-3 * x[0]


def aimed(x):
    return x - OFFSET


OFFSET = 0.0


def helped(x, data):
    return density(aimed(x), data)


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
                rj.samplers.gaussian_start(num_particles=64),
                rj.samplers.levels(
                    rj.diffusion.log_snr_grid(4, low=-3.0, high=3.0),
                    rj.estimators.importance(num_samples=17),
                ),
                rj.samplers.gaussian_finish(),
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


def test_a_helper_that_changed_is_refused(tmp_path, monkeypatch):
    """Its compiled program, and with it the density's value at every point, is still the old."""
    key, data = jax.random.key(0), target()
    open_checkpoint(tmp_path, key, helped, ORIGIN, data, {})
    before = files(tmp_path)
    open_checkpoint(tmp_path, key, helped, ORIGIN, data, {})
    monkeypatch.setitem(globals(), "OFFSET", 1.0)
    words = "another run: changed since are logdensity_fn or what it refers to. Draws of two"
    with pytest.raises(ValueError, match=words):
        open_checkpoint(tmp_path, key, helped, ORIGIN, data, {})
    monkeypatch.undo()
    monkeypatch.setitem(globals(), "aimed", lambda x: x)
    with pytest.raises(ValueError, match=words):
        open_checkpoint(tmp_path, key, helped, ORIGIN, data, {})
    assert files(tmp_path) == before


def test_a_folder_of_an_older_format_is_refused(copy):
    record = json.loads((copy / "run.json").read_text())
    record["format"], record["density"] = 1, record["density"][:4]
    (copy / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"changed since are the folder's format \(was 1, is 3\)"):
        cheap(**SIZE, checkpoint=copy)


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
