"""Bad input: the error says what came, where, and what to do."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import CHEAP_METHOD, ORIGIN, cheap, default, density, target

import rdmc_jax as rj
from rdmc_jax.planning.defaults import DEFAULT_SIZES, at_least, most_evals

pytestmark = pytest.mark.one_program

KEY = jax.random.key(0)
CHEAP = {"density": density, "data": target(), "method": CHEAP_METHOD}


def normal(x):
    return -0.5 * jnp.sum(x**2)


def refuse(error, *words, density=normal, position=ORIGIN, num_samples=100, key=KEY, **options):
    """Every word must stand in the message, and it must end like a sentence."""
    with pytest.raises(error) as caught:
        rj.sample(key, density, position, num_samples, **options)
    text = str(caught.value)
    for word in words:
        assert word in text, text
    return text


def test_density_of_many_points():
    words = ("must return a scalar", "shape (2,)", "(2,)", "single point", "vmap", "sum over")
    refuse(TypeError, *words, density=lambda p: -(p["a"] ** 2), position={"a": jnp.zeros(2)})


def test_density_of_shape_one():
    refuse(TypeError, "scalar", "shape (1,)", density=lambda x: -jnp.sum(x**2, keepdims=True))


def test_density_that_returns_a_tree():
    refuse(TypeError, "scalar", "tree", "[(), (2,)]", density=lambda x: (jnp.sum(x), x))
    refuse(TypeError, "scalar", density=lambda x: None)


def test_density_that_is_no_real_number():
    refuse(TypeError, "real floating-point", "int32", density=lambda x: jnp.argmax(x))
    refuse(TypeError, "real floating-point", "complex64", density=lambda x: jnp.sum(x + 1j))


@pytest.mark.parametrize(
    ("leaf", "dtype"), [(3, "int32"), (jnp.arange(2), "int32"), (True, "bool"), (1j, "complex64")]
)
def test_leaf_that_is_not_floating(leaf, dtype):
    words = ("position leaf ['n']", dtype, "floating-point", "0.0 instead of 0")
    refuse(TypeError, *words, position={"a": 1.0, "n": leaf}, density=lambda p: p["a"])


def test_leaf_that_is_no_number():
    words = ("position leaf ['n']", "'three'", "str", "float array or scalar")
    refuse(TypeError, *words, position={"n": "three"})


@pytest.mark.parametrize("position", [{}, [], None, jnp.zeros(0), {"a": jnp.zeros((0, 3))}])
def test_empty_position(position):
    refuse(ValueError, "no numbers", repr(position)[:8], "Pass one example", position=position)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_position_that_is_not_finite(bad):
    words = ("position leaf ['b'][1]", str(bad), "must be finite", "Zeros will do")
    refuse(ValueError, *words, position={"a": 0.0, "b": [0.0, jnp.array([1.0, bad])]})


@pytest.mark.parametrize("bad", ["nan", "inf"])
def test_density_that_is_no_number_at_the_position(bad):
    data = target(bad_radius=1.0, bad_value=float(bad))
    words = (f"logdensity_fn returned {bad} at the example position", "another position")
    refuse(ValueError, *words, density=density, data=data)


@pytest.mark.parametrize("run", [cheap, default])
def test_density_that_is_zero_everywhere(run):
    with pytest.raises(ValueError, match="not finite anywhere") as caught:
        run(data=target(bound=np.inf))
    assert "known_positions" in str(caught.value)


def test_density_that_is_a_constant_of_python():
    refuse(ValueError, "not finite anywhere", density=lambda x: -np.inf, method=CHEAP_METHOD)


@pytest.mark.parametrize("num", [0, -5])
def test_too_few_draws(num):
    refuse(ValueError, "num_samples", "at least 1", f"got {num}", num_samples=num)


def test_draws_that_are_no_number_of_draws():
    refuse((TypeError, ValueError), "num_samples", "100.5", num_samples=100.5, **CHEAP)


@pytest.mark.parametrize(
    "key", [0, None, jnp.zeros(2), np.int32(3), jax.random.split(KEY), jnp.zeros((2, 2), "uint32")]
)
def test_bad_keys(key):
    refuse(TypeError, "rng_key must be one key", "jax.random.key(0)", repr(key), key=key)


@pytest.mark.parametrize(
    ("known", "got"),
    [
        (jnp.zeros((4, 3)), "(4, 3)"),
        (jnp.zeros(2), "(2,)"),
        (jnp.zeros((0, 2)), "(0, 2)"),
        (0.0, "()"),
        ({"a": jnp.zeros((4, 2))}, "'a': (4, 2)"),
    ],
)
def test_known_positions_of_a_wrong_shape(known, got):
    words = ("known_positions", "leading axis", "(2,)", f"got {got}"[-len(got) :])
    refuse(ValueError, *words, known_positions=known)


def test_known_positions_of_unequal_lengths():
    known = {"a": jnp.zeros(3), "b": jnp.zeros(4)}
    words = ("known_positions", "leading axis", "(3,)", "(4,)")
    refuse(
        ValueError,
        *words,
        known_positions=known,
        position={"a": 0.0, "b": 0.0},
        density=lambda p: -(p["a"] ** 2) - p["b"] ** 2,
    )


@pytest.mark.parametrize("num", [0, -1, 101])
def test_replicates_out_of_range(num):
    words = ("num_replicates", "between 1 and num_samples=100", f"got {num}")
    refuse(ValueError, *words, num_replicates=num)


@pytest.mark.parametrize("max_evals", [3, 0, -1.0])
def test_budget_too_small(max_evals):
    words = (f"max_evals={max_evals}", "too few", "Raise max_evals", "num_replicates=1")
    text = refuse(ValueError, *words, max_evals=max_evals)
    # what it names is enough, and one less is not
    for replicates, name in ((2, "may need"), (1, "needs")):
        least = int(re.search(rf"{name} ([\d,]+)", text)[1].replace(",", ""))
        options = {"dim": 2, "num_samples": 100, "num_replicates": replicates}
        assert rj.plan(max_evals=least, **options).is_limited
        with pytest.raises(ValueError, match="too few"):
            rj.plan(max_evals=least - 1, **options)


def test_budget_for_a_method_that_has_its_own():
    refuse(ValueError, "max_evals", "method", max_evals=50.0, **CHEAP)


def test_budget_lowers_the_rung_and_says_so():
    full = rj.plan(dim=6, num_samples=2000)
    half = rj.plan(dim=6, num_samples=2000, max_evals=50_000)
    assert "dimension 6" in full.reason and "max_evals=50000" in half.reason
    assert full.recipe.method != half.recipe.method


def test_budget_that_few_draws_exceed_is_refused():
    # an ensemble is run whole, however few of its draws are kept
    least = most_evals(at_least(DEFAULT_SIZES[0]), 2, 2000, 2)
    assert rj.plan(dim=2, num_samples=2000, max_evals=least).max_evals == least
    words = (f"max_evals={least - 1}", "too few", "10 draws")
    refuse(ValueError, *words, num_samples=10, max_evals=least - 1)


@pytest.mark.parametrize("size", [0, -64])
def test_chunks_of_nothing(size):
    refuse(ValueError, "chunk_size", "at least 1", str(size), chunk_size=size, method=CHEAP_METHOD)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan")])
def test_tolerance_out_of_range(value):
    refuse(ValueError, "tolerance", repr(value), "between 0 and 1", tolerance=value)


def test_tolerance_of_a_method_that_has_nothing_to_enlarge():
    fixed = rj.rdmc(
        rj.samplers.noised_pool(num_particles=64),
        finish=rj.samplers.gaussian_finish(),
    )
    refuse(ValueError, "neither levels nor", "annealed", tolerance=0.1, method=fixed)


def test_half_precision():
    refuse(TypeError, "position", "float16", "float32", position=jnp.zeros(2, jnp.float16))


def test_method_that_is_no_composition():
    refuse(TypeError, "method", "'paper'", "rdmc(", method="paper")


def test_density_that_no_program_can_be_found_again_for():
    """A static argument must be hashable: this one is named, not an argument of some jit."""

    @dataclasses.dataclass
    class Model:
        width: float

        def __call__(self, x):
            return -0.5 * jnp.sum((x / self.width) ** 2)

    refuse(TypeError, "logdensity_fn", "hashable", "Model", density=Model(2.0))


class OutOfOrderError(Exception):
    """Of the user."""


def test_exceptions_of_the_density_pass_through():
    mine = OutOfOrderError("the telescope is broken")

    def broken(x):
        raise mine

    with pytest.raises(OutOfOrderError) as caught:
        rj.sample(KEY, broken, ORIGIN, 100)
    assert caught.value is mine
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        rj.sample(KEY, lambda x: normal(x), ORIGIN, 100, data=jnp.zeros(3))
    with pytest.raises(TypeError, match=r"incompatible shapes|broadcast"):
        rj.sample(KEY, lambda x: jnp.sum(x + jnp.zeros(3)), ORIGIN, 100)


def test_exceptions_of_the_density_pass_through_the_paper_too():
    def broken(x):
        raise OutOfOrderError

    with pytest.raises(OutOfOrderError):
        rj.paper(KEY, broken, ORIGIN, 100)
