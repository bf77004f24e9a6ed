"""A folder of another run is refused, and says what changed."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_runs import SIZE, files
from targets import CHEAP_METHOD, GMM4_DATA, ORIGIN, cheap, density, target

import rdmc_jax as rj
from rdmc_jax.runs.checkpoint import _probes, open_checkpoint

pytestmark = pytest.mark.one_program


CHANGED = {
    "num_samples": ({"num_samples": 601}, "num_samples (was 600, is 601)"),
    "key": ({"key": jax.random.key(1)}, "rng_key"),
    "data": ({"data": target(mean=((1.0, 0.0),))}, "data"),
    "position": ({"position": jnp.ones(2)}, "position"),
    "known": ({"known_positions": jnp.zeros((1, 2))}, "known_positions"),
    "replicates": ({"num_replicates": 3}, "num_replicates (was 2, is 3)"),
    "density": (
        {"logdensity_fn": lambda x, data: density(x, data) + 1e-3 * x[0]},
        "the density (was ",
    ),
    "tolerance": ({"tolerance": 0.1}, "tolerance (was None, is 0.1)"),
    "max_evals": ({"max_evals": 1e5, "tolerance": 0.1}, "max_evals (was None, is 100000.0)"),
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
        "method",
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


MODEL = """
import jax.numpy as jnp
from targets import density as inner
WIDTH, CENTER = 1.0, jnp.zeros(2)

def scaled(x):
    return x / WIDTH

def closed(shift):
    return lambda x, data: inner(scaled(x - CENTER - shift), data)

density = closed(0.0)
"""


def model(old="", new=""):
    """The density of a module's text, as another process would read it."""
    names = {}
    exec(MODEL.replace(old, new), names)
    return names["density"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("WIDTH, CENTER = 1.0", "WIDTH, CENTER = 1.001"),
        ("jnp.zeros(2)", "jnp.array([0.0, 1e-3])"),
        ("x / WIDTH", "x / WIDTH + 1e-3 * x**2"),
        ("closed(0.0)", "closed(1e-3)"),
    ],
)
def test_a_density_is_what_it_returns(old, new, tmp_path):
    run = functools.partial(open_checkpoint, tmp_path, jax.random.key(0))
    run(model(), ORIGIN, target(), {})
    before = files(tmp_path)
    run(model("x / WIDTH", "(x / WIDTH) + 0.0"), ORIGIN, target(), {})  # another text
    with pytest.raises(ValueError, match=r"changed since are the density \(was .* Draws of two"):
        run(model(old, new), ORIGIN, target(), {})
    assert files(tmp_path) == before


def test_a_global_that_changed_in_this_process_is_seen(tmp_path):
    run = functools.partial(open_checkpoint, tmp_path, jax.random.key(0))
    same = model()
    run(same, ORIGIN, target(), {})
    same.__globals__["WIDTH"] = 1.001
    with pytest.raises(ValueError, match="changed since are the density"):
        run(same, ORIGIN, target(), {})


def test_a_change_near_a_far_mode_is_seen_by_the_points_of_the_pool(tmp_path):
    mode = jnp.array([11.0, 0.0])  # of 40 % of the mass

    def heavier(x, data):
        return density(x, data) + jnp.where(jnp.sum((x - mode) ** 2) < 3.0**2, 0.1, 0.0)

    def run(logdensity_fn):
        method = {"method": CHEAP_METHOD, "num_replicates": 1, "checkpoint": tmp_path}
        return rj.sample(jax.random.key(0), logdensity_fn, ORIGIN, 64, data=GMM4_DATA, **method)

    assert np.min(np.linalg.norm(_probes(ORIGIN) - mode[None], axis=1)) > 10
    draws, before = run(density), files(tmp_path)
    with pytest.raises(ValueError, match=r"the density \(was .* at a point of the run, is"):
        run(heavier)
    assert files(tmp_path) == before
    assert run(density).num_evals == draws.num_evals  # comparing does not count


def test_a_folder_of_an_older_format_is_refused(copy):
    record = json.loads((copy / "run.json").read_text())
    record["format"], record["dtype"] = 3, "float32"
    (copy / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"changed since are the folder's format \(was 3, is 4\)"):
        cheap(**SIZE, checkpoint=copy)


def test_the_record_says_what_the_run_is(finished):
    record = json.loads((finished / "run.json").read_text())
    assert record["config"]["num_samples"] == 600 and len(record["density"]) == 16
    assert record["density"][0] == pytest.approx(-np.log(2 * np.pi), rel=1e-6)


def test_paths_that_are_none(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ValueError, match="is a file, but must name a folder"):
        cheap(64, checkpoint=file)
    assert file.read_text() == "mine"
    with pytest.raises(TypeError, match="checkpoint must be the path of a folder, but got True"):
        cheap(64, checkpoint=True)
