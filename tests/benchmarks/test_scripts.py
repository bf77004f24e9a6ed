"""What the benchmarks say of each other: steps, scripts, sizes and tables agree."""

import re

import jax
import jax.numpy as jnp
import pytest

from benchmarks import full, tables
from benchmarks.comparison import losses
from benchmarks.comparison.work_precision import timed
from benchmarks.harness.contenders import METHODS

TEXTS = {path: path.read_text("utf-8") for path in tables.FOLDER.rglob("README.md")}
# each script by its path in the folder, such as speed/gpu
SCRIPTS = {
    path.relative_to(tables.FOLDER).with_suffix("").as_posix()
    for path in tables.FOLDER.rglob("*.py")
    if 'if __name__ == "__main__"' in path.read_text("utf-8")
}
MARKER = re.compile(r"^<!-- (\w+) -->$", re.M)


def name_of(path):
    return path.relative_to(tables.FOLDER.parent).as_posix()


@pytest.mark.parametrize("path", tables.TABLES, ids=name_of)
def test_the_tables_are_those_of_the_results(path):
    assert tables.with_tables(path) == path.read_text("utf-8")


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_each_marked_table_is_made_from_the_results(path):
    assert set(MARKER.findall(TEXTS[path])) == set(tables.TABLES.get(path, ()))


def test_each_script_is_explained_once_with_its_command_and_each_step_is_a_script():
    rows = [row for text in TEXTS.values() for row in re.findall(r"^\| `.+\.py` \|.*$", text, re.M)]
    explained = [re.match(r"\| `([\w/]+)\.py` \|", row)[1] for row in rows]
    assert len(explained) == len(set(explained)) and set(explained) == SCRIPTS
    for name, row in zip(explained, rows, strict=True):
        assert f"`python -m benchmarks.{name.replace('/', '.')}" in row
    assert {module.replace(".", "/") for module, *_ in full.STEPS.values()} <= SCRIPTS


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
