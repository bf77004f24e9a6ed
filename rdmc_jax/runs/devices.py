"""Distribute a run over devices, and choose how much of it one device holds at a time.

A mesh has one or both of two axes: ``"replicates"`` distributes the independent ensembles of a
chunk, ``"particles"`` the particles of each ensemble. XLA partitions the program, and gathers what
the particles of an ensemble share (a pool, an average, a resampling).

Recipe for a cluster. Run the same script in every process::

    import jax
    jax.distributed.initialize()  # address, number and rank come from Slurm, Open MPI or the cloud;
    # elsewhere: initialize("host:port", num_processes, process_id)
    mesh = jax.make_mesh((jax.device_count(),), ("replicates",),
                         axis_types=(jax.sharding.AxisType.Auto,))
    draws = rdmc_jax.sample(key, logdensity_fn, position, num_samples, mesh=mesh)

Every process passes equal arguments and gets all draws; let process 0 save them. Processes on CPUs
communicate through ``jax.config.update("jax_cpu_collectives_implementation", "gloo")``, set before
anything else. ``"replicates"`` needs no communication but the collection of the draws. Take it if a
replicate has at least one ensemble for each device, else ``"particles"``.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ..samplers.sampler import Method
from ..target.flat import bind
from ..target.programs import compiled
from ..types import Array, ArrayTree, LogDensityFn, Pool, PRNGKey, Sampler

PARTICLES, REPLICATES = "particles", "replicates"
MEMORY_SHARE = 0.25
"""Share of a device's memory that the ensembles side by side may take."""
MOST_SIDE_BY_SIDE = 64
"""Most ensembles side by side: fewer, of 1,000 particles each, keep an accelerator busy."""
ESTIMATE_FACTOR = 8
"""Memory of an ensemble over that of one evaluation: states, proposals and moments are arrays of
the same size."""


def check_mesh(mesh: Any, num_particles: int) -> None:
    """Check a mesh.

    Raises:
        TypeError: if it is not a mesh.
        ValueError: for axes of other names or types, or one that does not divide the particles.
    """
    remedy = (
        "Make it with jax.make_mesh((num_devices,), ('replicates',), "
        "axis_types=(jax.sharding.AxisType.Auto,))."
    )
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh must be a jax.sharding.Mesh, but got {mesh!r}. {remedy}")
    if not mesh.axis_names or not set(mesh.axis_names) <= {PARTICLES, REPLICATES}:
        raise ValueError(
            f"mesh must have the axes 'replicates' or 'particles', or both, but has "
            f"{mesh.axis_names}. {remedy}"
        )
    if any(kind != AxisType.Auto for kind in mesh.axis_types):
        raise ValueError(
            f"mesh must have axes of type Auto, but has {mesh.axis_types}, the default of "
            f"jax.make_mesh. {remedy}"
        )
    size = mesh.shape.get(PARTICLES, 1)
    if num_particles % size:
        raise ValueError(
            f"mesh has {size} devices along 'particles', which cannot share {num_particles} "
            "particles evenly. Take a divisor, or the axis 'replicates'."
        )


def replicated(tree: ArrayTree, mesh: Mesh | None) -> ArrayTree:
    """Copy arrays to every device of the mesh; without a mesh return them unchanged."""
    if mesh is None:
        return tree
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: _put(leaf, everywhere), tree)


def _put(leaf: Any, sharding: NamedSharding) -> Array:
    if not isinstance(leaf, jax.Array) or not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.device_put(leaf, sharding)
    # typed keys cannot be put on devices of other processes, but their words can
    words = jax.device_put(np.asarray(jax.random.key_data(leaf)), sharding)
    return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))


def dealt(rng_keys: PRNGKey, mesh: Mesh | None) -> PRNGKey:
    """Distribute keys of ensembles over ``"replicates"``; the last one fills up the devices."""
    if mesh is None:
        return rng_keys
    size = mesh.shape.get(REPLICATES, 1)
    missing = -rng_keys.shape[0] % size
    if missing:
        # devices that would be idle repeat the last ensemble; its copies are not used
        rng_keys = jnp.concatenate([rng_keys, jnp.repeat(rng_keys[-1:], missing)])
    spec = PartitionSpec(REPLICATES if REPLICATES in mesh.axis_names else None)
    return _put(rng_keys, NamedSharding(mesh, spec))


def collected(tree: ArrayTree, mesh: Mesh | None) -> ArrayTree:
    """Put results on every device, inside a program, so that every process can read them all."""
    if mesh is None:
        return tree
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, everywhere), tree)


def vmapped_over(mesh: Mesh | None) -> Any:
    """Return `jax.vmap` for the axis of ensembles."""
    if mesh is None or REPLICATES not in mesh.axis_names:
        return jax.vmap
    return functools.partial(jax.vmap, spmd_axis_name=REPLICATES)


def spread(method: Method, mesh: Mesh | None) -> Any:
    """Distribute the particles of a method's states over ``"particles"``."""
    if mesh is None or PARTICLES not in mesh.axis_names:
        return method
    sharding = NamedSharding(mesh, PartitionSpec(PARTICLES))

    def over_particles(tree: ArrayTree) -> ArrayTree:
        return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, sharding), tree)

    def placed(state: Any) -> Any:
        return state._replace(
            position=over_particles(state.position),
            log_weight=over_particles(state.log_weight),
            time=over_particles(state.time),
        )

    def bound(logdensity_fn: LogDensityFn, *, data: Any = None) -> Sampler:
        init, step, num_steps = method(logdensity_fn, data=data)

        def new_init(
            position: ArrayTree, rng_key: PRNGKey | None = None, known: Pool | None = None
        ) -> Any:
            return placed(init(position, rng_key, known))

        def new_step(rng_key: PRNGKey, state: Any) -> tuple[Any, Any]:
            state, info = step(rng_key, state)
            return placed(state), info

        return Sampler(new_init, new_step, num_steps)

    return bound


@functools.partial(compiled, static=("has_gradient",))
def _evaluations(
    points: Array,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    *,
    has_gradient: bool,
) -> Any:
    fn = bind(logdensity_fn, position, data).logdensity_fn
    return jax.vmap(jax.value_and_grad(fn) if has_gradient else fn)(points)


def ensemble_bytes(
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    *,
    num_particles: int,
    has_gradient: bool,
) -> int:
    """Estimate the memory of one ensemble, from the compiled evaluation of its particles.

    Only the density is compiled, side by side for all particles. That takes seconds at most; the
    whole program takes as long as the run's own compilation. Programs are large because of what the
    density needs per point (the rows of its data, for instance). `ESTIMATE_FACTOR` stands for the
    other arrays, and a matrix of particles by particles is added for pooled averages.

    Args:
        logdensity_fn: the user's density.
        position: example position, of arrays.
        data: passed to the density if not None.
        num_particles: particles of the ensemble.
        has_gradient: whether gradients are taken.

    Returns:
        Bytes.
    """
    flat = bind(logdensity_fn, position, data).position
    points = jax.ShapeDtypeStruct((num_particles, flat.size), flat.dtype)
    lowered = _evaluations.lower(points, logdensity_fn, position, data, has_gradient=has_gradient)
    found = lowered.compile().memory_analysis()
    # some backends give no analysis
    one = 0 if found is None else found.temp_size_in_bytes + found.output_size_in_bytes
    own = num_particles * (num_particles + flat.size) * flat.dtype.itemsize
    return int(ESTIMATE_FACTOR * one + own)


def automatic_chunk(
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    *,
    num_particles: int,
    has_gradient: bool,
    mesh: Mesh | None = None,
) -> int:
    """Choose how many particles run side by side if the user does not.

    On CPUs it is one ensemble (on each device along ``"replicates"``): several at once are not
    faster than one after the other. On accelerators it is what `MEMORY_SHARE` of the memory holds,
    but at most `MOST_SIDE_BY_SIDE` ensembles.

    Args:
        logdensity_fn: as for `ensemble_bytes`, like the next ones.
        position: example position.
        data: data.
        num_particles: particles of one ensemble.
        has_gradient: whether gradients are taken.
        mesh: devices, or None for the default one.

    Returns:
        A multiple of ``num_particles``.
    """
    device = jax.local_devices()[0] if mesh is None else mesh.devices.flat[0]
    groups = 1 if mesh is None else mesh.shape.get(REPLICATES, 1)
    limit = (device.memory_stats() or {}).get("bytes_limit") if device.platform != "cpu" else None
    if limit is None:
        return groups * num_particles
    needed = ensemble_bytes(
        logdensity_fn, position, data, num_particles=num_particles, has_gradient=has_gradient
    )
    side = int(MEMORY_SHARE * limit) // needed
    return groups * num_particles * max(1, min(side, MOST_SIDE_BY_SIDE))
