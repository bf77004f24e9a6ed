"""``python -m rdmc_jax``: densities of one's own, what is written, and what is refused."""

import numpy as np
import pytest

from rdmc_jax.__main__ import main

DENSITY = """
import jax.numpy as jnp

def shifted(x):
    return -0.5 * jnp.sum((x - 3.0) ** 2) - 0.5 * x.size * jnp.log(2 * jnp.pi)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(DENSITY)
    return path


def test_a_density_of_ones_own_is_sampled_and_written(file, tmp_path, capsys):
    folder = tmp_path / "out"
    options = ["--dim", "2", "--num-samples", "1500", "--max-evals", "4e4", "--seed", "3"]
    assert main([f"{file}:shifted", *options, "--output", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "log Z" in said and "shifted_draws.npz" in said
    assert (folder / "shifted_draws.png").stat().st_size > 1000
    with np.load(folder / "shifted_draws.npz") as archive:
        assert archive["position"].shape == (1500, 2) and archive["log_weight"].shape == (1500,)
        weight = np.exp(archive["log_weight"] - archive["log_weight"].max())
        mean = np.average(archive["position"], axis=0, weights=weight)
        assert np.all(np.abs(mean - 3) < 5 / np.sqrt(1000))
        assert abs(archive["log_normalizer"]) < 4 * archive["log_normalizer_error"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch"], "unknown target 'nosuch'"),
        (["missing.py:f", "--dim", "1"], "no such file"),
        (["{file}:shifted"], "add --dim"),
        (["{file}:other", "--dim", "1"], "it has ['shifted']"),
        (["gmm4", "--dim", "3"], "has no dimension to choose"),
    ],
)
def test_what_cannot_be_sampled_is_named(file, arguments, words):
    with pytest.raises(SystemExit, match=words.replace("[", r"\[").replace("]", r"\]")):
        main([text.format(file=file) for text in arguments])
