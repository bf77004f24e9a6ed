"""The limit does what it is asked to, and is counted as the sampler is."""

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax as rj
from benchmarks.speed import limit, programs, scaling, speed
from rdmc_jax.samplers.core import Recipe, core

DIM, WIDTH = 3, 8


def density(x):
    return -0.5 * jnp.sum(x**2)


def loop_of(**counts):
    return limit.bare_loop(density, DIM, WIDTH, limit.Counts(**counts))


def test_the_limit_draws_and_evaluates_what_was_asked_for():
    for asked in (
        {"gradients": 80, "values": 40, "normals": 160},
        {"gradients": 80, "values": 0, "normals": 16},
        {"gradients": 83, "values": 5, "normals": 90},
    ):
        run, done = loop_of(**asked)
        for name, count in asked.items():
            # each of the parts with and without noise is rounded to whole rows
            assert abs(getattr(done, name) - count) <= WIDTH
        assert limit.counted_normals(run, jax.random.key(0)) == DIM * done.normals


def test_normal_numbers_are_counted_under_vmap_and_loops():
    def run(key):
        def body(total, key):
            keys = jax.random.split(key, 5)
            return total + jnp.sum(jax.vmap(lambda k: jax.random.normal(k, (2, 3)))(keys)), None

        return jax.lax.scan(body, 0.0, jax.random.split(key, 7))[0]

    assert limit.counted_normals(run, jax.random.key(0)) == 7 * 5 * 6


def test_a_method_is_counted_by_what_it_reports():
    num_particles, num_samples, num_levels = 4, 6, 3
    estimator = rj.estimators.importance(num_samples=num_samples)
    method = rj.rdmc(
        rj.samplers.gaussian_start(num_particles=num_particles),
        rj.samplers.levels(rj.diffusion.log_snr_grid(num_levels), estimator),
        rj.samplers.gaussian_finish(),
    )
    recipe = Recipe(method)

    def run(key):
        return core(key, density, jnp.zeros(DIM), plan=recipe)

    updates = num_levels + 1
    logdensities, gradients = programs.evaluations_of(jax.jit(run)(jax.random.key(0)))
    assert (logdensities, gradients) == (num_particles * (updates * num_samples + 1), 0)
    # a start, one step per level and the finish move every particle
    normals = num_particles * (updates * num_samples + num_levels + 2)
    assert limit.counted_normals(run, jax.random.key(0)) == DIM * normals


def test_mala_alone_is_counted_by_its_steps():
    program = programs.mala_of(rj.problems.two_modes(2), 2, num_steps=3)
    result = jax.jit(program.run)(jax.random.key(0))
    assert programs.evaluations_of(result) == (4 * program.width, 4 * program.width)
    assert limit.counted_normals(program.run, jax.random.key(0)) == 3 * program.width * 2


def test_a_problem_of_named_parts_is_made_flat():
    problem = rj.problems.galaxy(3, True)
    made = programs.flat(problem)
    assert made.position.shape == (6,)
    np.testing.assert_array_equal(
        made.logdensity_fn(made.position), problem.logdensity_fn(problem.position)
    )


def test_the_tables_have_a_cell_for_each_column():
    record = {
        "problem": "two_modes_2",
        "program": "paper",
        "dim": 2,
        "width": 8,
        "counts": limit.Counts(3, 2, 1)._asdict(),
        **dict.fromkeys(
            ("median", "limit_median", "compile_seconds", "limit_compile_seconds"), 1.0
        ),
        "ratio": 1.0,
    }
    total = speed.total_of([record, record])
    assert total["counts"] == {"gradients": 6, "values": 4, "normals": 2}
    lines = speed.table([record, total]).splitlines()
    assert {text.count("|") for text in lines} == {len(speed.COLUMNS) + 1}
    memory = {
        "program": "paper",
        "dim": 2,
        "num_particles": 8,
        "megabytes": None,
        "bytes_per_coordinate": None,
    }
    lines = speed.table([memory], speed.MEMORY_COLUMNS, speed.memory_cells).splitlines()
    assert {text.count("|") for text in lines} == {len(speed.MEMORY_COLUMNS) + 1}


def test_modes_on_the_spiral_are_seven_deviations_apart():
    means = scaling.spiral(64)
    distance = np.linalg.norm(means[:, None] - means[None], axis=2) + 1e9 * np.eye(64)
    assert distance.min() > 6.999
    assert jax.vmap(scaling.spiral_mixture(64).mode_fn)(means).tolist() == list(range(64))
