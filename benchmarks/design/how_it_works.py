"""The README's first picture: particles that go from noise to the four Gaussians of `gmm4`.

Each panel is one noise level: the particles there, coloured by the mode that they end in, the
density of the noised target in grey, and its score as arrows. The score is drawn in closed form;
the particles never see it. They estimate it with Langevin chains, level by level.

    python -m benchmarks.design.how_it_works --output benchmarks/results/how_it_works.png
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.patches import FancyArrowPatch

from rdmc_jax import diffusion, estimators, kernels, problems, rdmc, samplers
from rdmc_jax.plots.figure import BLACK, COLOURS, new_figure
from rdmc_jax.problems.mixtures import gaussian_mixture

# of problems.gmm4(); `standard_target` checks that they still are
WEIGHTS = np.array([0.1, 0.2, 0.3, 0.4])
MEANS = np.array([[0.0, 0.0], [0.0, 11.0], [9.0, 9.0], [11.0, 0.0]])
COVARIANCES = np.array(
    [
        [[1.0, 0.5], [0.5, 1.0]],
        [[0.3, -0.2], [-0.2, 0.3]],
        [[1.0, 0.3], [0.3, 1.0]],
        [[1.2, -1.0], [-1.0, 1.2]],
    ]
)
LOCATION = WEIGHTS @ MEANS
SCALE = 5.0  # of all four together

NUM_LEVELS = 32
NUM_PARTICLES = 1024
NUM_SHOWN = 500
PANELS = (0, 14, 17, 21, NUM_LEVELS + 1)  # steps done
HALF_WIDTH = 2.6  # of a panel, in standard coordinates
NUM_PIXELS, NUM_ARROWS = 160, 8
GREYS = ["#f4f5f7", "#e9ebee", "#dde0e5", "#d0d4da", "#c3c8d0", "#b6bcc6"]
DROPS = [-9.0, -6.0, -4.0, -2.5, -1.2, -0.4, 0.01]  # of the log density below its top
ARROWS = "#98a1ad"


def standard_target(z: jax.Array) -> jax.Array:
    """Log density of gmm4 in coordinates of location 0 and scale 1."""
    return problems.gmm4().logdensity_fn(LOCATION + SCALE * z)


def noised(t: float) -> problems.problem.Problem:
    """The noised target in closed form: N(α m, α² C + σ² I) for every component."""
    process = diffusion.ornstein_uhlenbeck()
    alpha, sigma = (float(fn(jnp.asarray(t))) for fn in (process.alpha, process.sigma))
    means = alpha * (MEANS - LOCATION) / SCALE
    covariances = alpha**2 * COVARIANCES / SCALE**2 + sigma**2 * np.eye(2)
    return gaussian_mixture("noised", WEIGHTS, means, covariances, "closed form")


def run(rng_key: jax.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions and times after each step, shapes (steps + 1, particles, ...), and log weights."""
    method = rdmc(
        samplers.gaussian_start(num_particles=NUM_PARTICLES),
        samplers.levels(
            diffusion.log_snr_grid(NUM_LEVELS),
            estimators.chains(
                kernels.mala, begin=estimators.from_all_particles(), num_chains=8, num_steps=2
            ),
        ),
        samplers.annealed_finish(num_temperatures=16),
    )
    sampler = method(standard_target)
    start_key, step_key = jax.random.split(rng_key)

    @jax.jit
    def program(start_key: jax.Array, keys: jax.Array) -> Any:
        def step(state: Any, key: jax.Array) -> Any:
            state, _ = sampler.step(key, state)
            return state, (state.position, state.time)

        first = sampler.init(jnp.zeros(2), start_key)
        last, (position, time) = jax.lax.scan(step, first, keys)
        position = jnp.concatenate([first.position[None], position])
        return position, jnp.concatenate([first.time[None], time]), last.log_weight

    position, time, log_weight = program(start_key, jax.random.split(step_key, sampler.num_steps))
    return np.asarray(position), np.asarray(time), np.asarray(log_weight)


def panel(axes: Any, x: np.ndarray, colours: np.ndarray, t: float) -> None:
    """Density, score and particles at one time."""
    density = noised(t)
    ticks = np.linspace(-HALF_WIDTH, HALF_WIDTH, NUM_PIXELS)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    height = np.asarray(jax.vmap(density.logdensity_fn)(jnp.asarray(grid, jnp.float32)))
    levels = height.max() + np.asarray(DROPS)
    axes.contourf(
        ticks,
        ticks,
        height.reshape(NUM_PIXELS, NUM_PIXELS),
        levels,
        colors=GREYS,
    )
    coarse = np.linspace(-HALF_WIDTH, HALF_WIDTH, 2 * NUM_ARROWS + 1)[1::2]
    at = np.stack(np.meshgrid(coarse, coarse), axis=-1).reshape(-1, 2)
    score = np.asarray(jax.vmap(jax.grad(density.logdensity_fn))(jnp.asarray(at, jnp.float32)))
    size = np.linalg.norm(score, axis=1, keepdims=True)
    arrow = score / size * np.minimum(size / 3.0, 1.0)  # long ones are cut
    axes.quiver(*at.T, *arrow.T, color=ARROWS, width=0.006, scale=12, pivot="mid", zorder=2)
    axes.scatter(*x.T, s=4, c=colours, linewidths=0, alpha=0.85, zorder=3)
    axes.set(xlim=(-HALF_WIDTH, HALF_WIDTH), ylim=(-HALF_WIDTH, HALF_WIDTH), xticks=[], yticks=[])
    axes.set_aspect("equal")
    axes.spines[:].set_color("#c9ced6")


def picture(rng_key: jax.Array, file: Path) -> None:
    """Run and draw."""
    own = gaussian_mixture("gmm4", WEIGHTS, MEANS, COVARIANCES, "").logdensity_fn
    assert all(np.isclose(own(m), problems.gmm4().logdensity_fn(m)) for m in MEANS)
    run_key, choice_key = jax.random.split(rng_key)
    position, time, log_weight = run(run_key)
    # equally weighted draws, and where these particles were before
    probability = jax.nn.softmax(jnp.asarray(log_weight))
    shown = np.asarray(jax.random.choice(choice_key, NUM_PARTICLES, (NUM_SHOWN,), p=probability))
    ends = jnp.asarray(LOCATION + SCALE * position[-1, shown], jnp.float32)
    colours = np.asarray(COLOURS)[np.asarray(jax.vmap(problems.gmm4().mode_fn)(ends))]
    figure, (columns,) = new_figure(1, len(PANELS), (8.0, 1.85))
    for axes, step in zip(columns, PANELS, strict=True):
        panel(axes, position[step, shown], colours, float(time[step, 0]))
    middle = len(columns) // 2
    words = {0: "noise", middle: "less and less noise", len(columns) - 1: "draws"}
    for k, word in words.items():
        columns[k].set_xlabel(word, fontsize=9, color=BLACK)
    figure.canvas.draw()  # the layout is known from here on
    boxes = [axes.get_position() for axes in columns]
    centre = [(box.x0 + box.x1) / 2 for box in boxes]
    for begin, end, style in (
        (centre[0] + 0.04, centre[middle] - 0.11, "-"),
        (centre[middle] + 0.11, centre[-1] - 0.04, "->"),
    ):
        height = 0.55 * boxes[0].y0
        figure.add_artist(
            FancyArrowPatch(
                (begin, height),
                (end, height),
                transform=figure.transFigure,
                arrowstyle=style,
                mutation_scale=9,
                color=ARROWS,
                linewidth=0.9,
            )
        )
    figure.savefig(file, dpi=150)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    picture(jax.random.key(0), options.output)


if __name__ == "__main__":
    main()
