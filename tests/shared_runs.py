"""Runs that many tests look at; compilation is what costs, so each is made once."""

import pytest
from checkpoint_runs import SIZE, files
from targets import cheap, default, target, tree_run


@pytest.fixture(scope="session")
def cheap_draws():
    """1001 draws in 4 replicates of the cheap method on N(0, I)."""
    return cheap(1001, num_replicates=4)


@pytest.fixture(scope="session")
def gaussian_draws():
    """2000 draws of the automatic method on N(0, I)."""
    return default(2000)


@pytest.fixture(scope="session")
def mixture_draws():
    """Runs on .2 N((-5, 100), .5² 20²) + .8 N((5, 400), 1² 5²), times e^-5."""
    data = target(
        mean=((-5.0, 100.0), (5.0, 400.0)),
        scale=((0.5, 20.0), (1.0, 5.0)),
        weight=(0.2, 0.8),
        log_normalizer=-5.0,
    )
    return [default(2000, seed=seed, data=data) for seed in range(5)]


@pytest.fixture(scope="session")
def tree_draws():
    """300 draws of a nested position, scalars and arrays of one element among its leaves."""
    return tree_run()


@pytest.fixture(scope="session")
def whole():
    return cheap(**SIZE)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    cheap(**SIZE, checkpoint=folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """A folder of the finished run, to do damage to."""
    for name, content in files(finished).items():
        (tmp_path / name).write_bytes(content)
    return tmp_path
