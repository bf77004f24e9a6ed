"""What the benchmarks say of each other: steps, scripts, sizes and tables agree."""

import re

import jax
import jax.numpy as jnp
import pytest

from benchmarks import full, losses, tables
from benchmarks.contenders import METHODS
from benchmarks.timing import timed

SCRIPTS = {
    path.stem
    for path in tables.FOLDER.glob("*.py")
    if 'if __name__ == "__main__"' in path.read_text()
}


@pytest.mark.parametrize("path", tables.TABLES, ids=["its own", "the project's"])
def test_the_tables_are_those_of_the_results(path):
    assert tables.with_tables(path) == path.read_text("utf-8")


def test_each_script_is_explained_and_each_step_is_a_script():
    explained = re.findall(
        r"^\| `(\w+)\.py` \|", (tables.FOLDER / "README.md").read_text("utf-8"), re.M
    )
    assert len(explained) == len(set(explained)) and set(explained) == SCRIPTS
    assert {module for module, *_ in full.STEPS.values()} <= SCRIPTS


def test_losses_ask_for_sizes_that_the_methods_have():
    for name, sizes in losses.SIZES.items():
        method = METHODS[name]
        # of ours no other sizes exist; baselines take any, of the kind that they have
        known = method.sizes if name == "sample" else None
        kinds = [list(map(type, method.sizes[0]))] if known is None else []
        for size in sizes:
            assert size in known if known else list(map(type, size)) in kinds


def test_seconds_are_those_of_a_call_that_compiles_nothing():
    calls = []

    def call(fn):
        calls.append(fn)
        return fn(jnp.arange(3.0))

    program = jax.jit(lambda x: jnp.sum(x**3) / 7)
    first = timed(lambda: call(program))
    assert first.num_compiled == 0 and len(calls) == 2 and first.result == pytest.approx(9 / 7)
    assert first.cold > first.wall
    timed(lambda: call(program))
    assert len(calls) == 3
    # one that is new every time always compiles, and says so
    always = timed(lambda: call(jax.jit(lambda x: jnp.sum(x**3) / len(calls))))
    assert always.num_compiled > 0 and always.wall > 0
