"""ArviZ: both generations, equally weighted draws by replicate, attributes."""

import importlib
import json
import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdmc_jax as rj
from rdmc_jax.interop import arviz
from rdmc_jax.interop.arviz import to_arviz

METHOD = rj.rdmc(
    rj.samplers.gaussian_start(num_particles=64),
    rj.samplers.levels(
        rj.diffusion.log_snr_grid(4, low=-3.0, high=3.0), rj.estimators.importance(num_samples=16)
    ),
    rj.samplers.gaussian_finish(),
)


def density(x):
    return -0.5 * (x["a"] - 1.0) ** 2 - 0.5 * jnp.sum(x["b"][0] ** 2)


@pytest.fixture(scope="module")
def draws():
    position = {"a": 0.0, "b": [jnp.zeros((2, 1))]}
    return rj.sample(jax.random.key(0), density, position, 500, method=METHOD, num_replicates=4)


@pytest.fixture(scope="module", autouse=True)
def imported():
    """Both generations warn about other packages when they are first imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("arviz", "arviz_base"):
            importlib.import_module(name)


def groups_of(draws, **options):
    """What either generation is given, without ArviZ."""
    fake = types.SimpleNamespace(
        __name__="arviz", __version__="0.23.4", from_dict=lambda **groups: groups
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arviz, "_library", lambda: fake)
        return to_arviz(draws, **options)


def test_draws_are_resampled_within_their_replicates(draws):
    groups = groups_of(draws)
    assert {k: v.shape for k, v in groups["posterior"].items()} == {
        "a": (4, 125),
        "b.0": (4, 125, 2, 1),
    }
    a, replicate = np.asarray(draws.position["a"]), np.asarray(draws.replicate)
    for label in range(4):
        assert set(groups["posterior"]["a"][label]) <= set(a[replicate == label])
        share = draws.weights[replicate == label]
        share = share / np.sum(share)
        chosen = groups["posterior"]["a"][label]
        counts = np.sum(chosen[:, None] == a[replicate == label][None, :], axis=0)
        # a comb takes floor or ceil of what each point is worth
        np.testing.assert_array_less(np.abs(counts - 125 * share), 1.0 + 1e-6)
    attributes = groups["posterior_attrs"]
    assert attributes["log_evidence"] == draws.log_normalizer
    assert json.loads(attributes["config"])["num_samples"] == 500


def test_constrained_draws_take_the_place_of_the_others(draws):
    groups = groups_of(draws, constrain=lambda x: {"scale": jnp.exp(x["a"])})
    plain = groups_of(draws)
    np.testing.assert_allclose(
        groups["posterior"]["scale"], np.exp(plain["posterior"]["a"]), rtol=1e-5
    )


def test_the_second_generation(draws):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arviz.importlib.util, "find_spec", lambda name: None)
        data = to_arviz(draws)
    assert type(data).__name__ == "DataTree" and data["posterior"]["b.0"].shape == (4, 125, 2, 1)
    for attributes in (data.attrs, data["posterior"].attrs):
        assert attributes["log_evidence"] == draws.log_normalizer


def test_with_the_installed_arviz(draws):
    data = to_arviz(draws)
    assert data["posterior"]["a"].shape == (4, 125)
    assert float(data["posterior"].attrs["log_evidence"]) == draws.log_normalizer
    assert np.all(np.isfinite(data["sample_stats"]["log_weight"]))
