"""Rooms in the order in which a density becomes draws: each imports only from those before it."""

import ast
from pathlib import Path

import pytest

import rdmc_jax

PACKAGE = Path(rdmc_jax.__file__).parent
ORDER = ["types", "target", "montecarlo", "diffusion", "pools", "samplers", "draws", "planning"]
ORDER += ["runs", "sampling"]
SIDES = ["interop", "metrics", "plots", "problems"]  # import from everywhere; nobody imports them
DOORS = ["__init__", "__main__"]


def imported(source, parts):
    """Absolute names, inside the package, of all modules that a module's text imports.

    Args:
        source: text of the module.
        parts: of its name inside the package, such as ["samplers", "core"].
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level] if node.level else []
            module = base + (node.module or "").split(".") if node.module else base
            if node.level or module[:1] == ["rdmc_jax"]:
                module = module[1:] if not node.level else module
                for alias in node.names:
                    yield [*module, alias.name]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "rdmc_jax":
                    yield alias.name.split(".")[1:]


def broken(source, parts):
    """Imports of a module that run against the order of rooms."""
    room = parts[0]
    if room in DOORS:
        return []
    found = []
    for module in imported(source, parts):
        other = module[0]
        is_side = other in SIDES or other not in ORDER
        if room in SIDES:
            is_wrong = other in DOORS
        else:
            is_wrong = is_side or ORDER.index(other) > ORDER.index(room)
        if is_wrong:
            found.append(f"{'.'.join(parts)} imports {'.'.join(module)}")
    return found


MODULES = {
    path: list(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
}


def test_no_import_runs_against_the_order():
    found = [line for path, parts in MODULES.items() for line in broken(path.read_text(), parts)]
    assert not found


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("from ..planning.tolerance import MARGIN", ["samplers", "core"]),
        ("from rdmc_jax.runs import run", ["pools", "pool"]),
        ("import rdmc_jax.sampling", ["runs", "run"]),
        ("from ..problems import gmm4", ["draws", "draws"]),
        ("from ...samplers.sampler import rdmc", ["diffusion", "estimators", "chains"]),
        ("def f():\n    from .. import sampling", ["planning", "defaults"]),
    ],
)
def test_an_import_against_the_order_is_seen(source, parts):
    assert broken(source, parts)


def test_imports_in_the_order_and_of_other_packages_are_fine():
    source = "import jax\nfrom jax import numpy\nfrom ..types import Array\nfrom .pool import union"
    assert not broken(source, ["pools", "tempering"])
    assert not broken("from ..sampling import sample", ["interop", "numpyro"])


def test_every_entry_of_the_package_has_its_place():
    entries = [p for p in PACKAGE.iterdir() if p.name != "__pycache__"]
    names = {p.name.removesuffix(".py") for p in entries}
    assert names == {*ORDER, *SIDES, *DOORS, "py.typed"}
    assert len(entries) <= 18


def test_no_small_file_serves_one_other_file_alone():
    importers = {}
    for path, parts in MODULES.items():
        for module in imported(path.read_text(), parts):
            for end in (len(module), len(module) - 1):
                importers.setdefault(".".join(module[:end]), set()).add(path)
    for path, parts in MODULES.items():
        is_small = len(path.read_text().splitlines()) < 40 and parts[-1] not in DOORS
        assert not is_small or len(importers.get(".".join(parts), ())) > 1, path
