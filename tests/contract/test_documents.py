"""Everything shown is run: the Python blocks of README and CONTRIBUTING, and the notebooks."""

import math
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_the_blocks_of_the_readme_run_in_order_and_say_what_they_claim(capsys):
    names: dict = {}
    blocks = BLOCK.findall((ROOT / "README.md").read_text())
    assert len(blocks) == 2
    exec(blocks[0], names)
    assert abs(names["weight"] - 2 / 3) < 4 * names["error"]
    draws = names["draws"]
    assert abs(draws.log_normalizer - math.log(6 * math.pi)) < 4 * draws.log_normalizer_error
    assert "weight ESS" in capsys.readouterr().out
    exec(blocks[1], names)
    assert names["draws"].num_samples == 1024


def test_the_transition_of_contributing_is_exact_in_a_method():
    names: dict = {}
    (block,) = BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text())
    exec(block, names)
    draws = names["draws"]
    error = draws.log_normalizer_error
    assert 0 < error < 0.05 and abs(draws.log_normalizer - math.log(math.pi / 2)) < 4 * error
    assert np.all(np.abs(names["mean"] - 1.0) < 4 * names["error"])
    square, square_error = draws.expectation(lambda x: (x - 1.0) ** 2)
    assert np.all(np.abs(square - 0.25) < 4 * square_error)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.name)
def test_the_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert outputs
    assert all(output.output_type != "error" for output in outputs)
