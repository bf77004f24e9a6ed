"""Checkpoints: a run's folder with its finished parts, and the check that it is the same run."""

import contextlib
import hashlib
import importlib.metadata
import io
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ..samplers.core import Preparation
from ..target.flat import bind, from_standard
from ..types import Array, ArrayTree, LogDensityFn, PRNGKey, RDMCWarning, as_code

FORMAT = 4
RECORD = "run.json"
PACKAGES = ("rdmc_jax", "jax")
CHECKSUM = hashlib.sha256().digest_size
"""Bytes at the end of a part."""
NUM_PROBES = 16
"""Fixed points at which the call's density is compared with the folder's."""
MOST_POINTS = 256
"""Most points of each replicate's pool at which they are compared, too."""
ROUNDING = 16.0
"""Units in the last place by which two machines may differ in the density of one point."""


def digest(*values: Any) -> str:
    """Hash values in short, to the same text in every process.

    An array is hashed by its type, shape and bytes, a PyTree by its structure and leaves, and
    everything else by its code (`as_code`), where functions are named only.

    >>> digest({"a": np.zeros(2)}) == digest({"a": np.zeros(2)}) != digest({"a": np.ones(2)})
    True
    """
    leaves, structure = jax.tree.flatten(values)
    found = hashlib.sha256()
    for text in (structure, *leaves):
        if isinstance(text, jax.Array) and jnp.issubdtype(text.dtype, jax.dtypes.prng_key):
            found.update(str(jax.random.key_impl(text)).encode())
            text = jax.random.key_data(text)
        if isinstance(text, jax.Array | np.ndarray | np.generic):
            array = np.asarray(text)
            found.update(f"\n{array.dtype}{array.shape}".encode() + array.tobytes())
        else:
            with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
                # the default repr of an object has its address in memory, which always differs
                found.update(b"\n" + re.sub(" at 0x[0-9a-f]+", "", as_code(text)).encode())
    return found.hexdigest()[:16]


class Part(NamedTuple):
    """Arrays with the record of the run that they belong to."""

    record: str
    origin: str  # hash of what the run itself chose before (method, pool) to make them
    leaves: list[np.ndarray]


def write_file(file: Path, content: bytes) -> None:
    """Write under a temporary name, then rename: readers see the whole file or none.

    Raises:
        OSError: for a full disk, for instance; the file that was there before then remains.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _checksum(file: Path, archive: bytes) -> bytes:
    """Checksum of content and file name, so that no part is taken for another."""
    return hashlib.sha256(file.stem.encode() + archive).digest()


def write_part(file: Path, part: Part) -> None:
    """Write arrays with the record of their run, and a checksum at the end.

    Raises:
        OSError: as `write_file`.
    """
    stream = io.BytesIO()
    record, origin = map(np.asarray, part[:2])
    np.savez(stream, *part.leaves, allow_pickle=False, record=record, origin=origin)
    write_file(file, stream.getvalue() + _checksum(file, stream.getvalue()))


def read_part(file: Path) -> Part:
    """Read what `write_part` wrote.

    Raises:
        ValueError: if the file is damaged; the message continues a sentence that names the file.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "part.npz"
    >>> write_part(file, Part("of a run", "", [np.arange(3)]))
    >>> read_part(file).leaves[0].tolist()
    [0, 1, 2]
    >>> _ = file.write_bytes(file.read_bytes()[:-7])
    >>> read_part(file)
    Traceback (most recent call last):
    ValueError: does not have its checksum
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read ({error})") from error
    archive, checksum = content[:-CHECKSUM], content[-CHECKSUM:]
    if checksum != _checksum(file, archive):
        raise ValueError("does not have its checksum")
    with np.load(io.BytesIO(archive), allow_pickle=False) as members:
        leaves = [members[f"arr_{k}"] for k in range(len(members.files) - 2)]
        return Part(str(members["record"]), str(members["origin"]), leaves)


class Checkpoint(NamedTuple):
    """Functions that load and save finished parts; `nowhere` keeps nothing."""

    load: Callable[[str, Any, Callable[[], ArrayTree]], ArrayTree | None]
    """``(name, origin, shapes)``: the part of this name if it was made from ``origin``, else None.
    The function ``shapes`` returns its structure."""
    save: Callable[[str, Any, ArrayTree], None]
    """``(name, origin, part)``; with a `Preparation`, also the density at points of its pool."""


nowhere = Checkpoint(lambda name, origin, shapes: None, lambda name, origin, part: None)


def _compared_density(
    logdensity_fn: LogDensityFn, position: ArrayTree, data: Any
) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function that evaluates the density at up to `MOST_POINTS` flat points.

    It compiles a small program of its own in every call: a program compiled before would contain
    the global values of that time.
    """

    @jax.jit
    def values(points: Array, data: Any) -> Array:
        return jax.vmap(bind(logdensity_fn, position, data).logdensity_fn)(points)

    def density(points: np.ndarray) -> np.ndarray:
        filled = np.resize(points, (MOST_POINTS, points.shape[1]))  # one shape, one program
        return np.asarray(values(filled, data))[: len(points)]

    return density


def _probes(position: ArrayTree) -> np.ndarray:
    """The example position and points at fixed steps of many sizes from it, flat."""
    center = np.asarray(ravel_pytree(position)[0])
    noise = np.random.default_rng(0).standard_normal((NUM_PROBES, center.shape[0]))
    size = np.append(0.0, 2.0 ** np.arange(-5, NUM_PROBES - 6))  # 1/32 ... 512
    return (center + size[:, None] * noise).astype(center.dtype)


def _pool_points(prepared: Preparation) -> np.ndarray:
    """Up to `MOST_POINTS` of a pool's points in the user's coordinates, flat.

    They are chosen at random: a pool is ordered by chains, and equal steps could meet one chain
    only.
    """
    pool = prepared.pool
    order = np.random.default_rng(0).permutation(pool.log_weight.shape[0])
    chosen = order[np.isfinite(pool.log_weight[order])][:MOST_POINTS]
    standard = map(jnp.asarray, (prepared.location, prepared.scale, pool.position[chosen]))
    return np.asarray(from_standard(*standard))


def _changed_density(was: Iterable[float], now: Iterable[float], dtype: Any) -> list[str]:
    room = ROUNDING * float(jnp.finfo(dtype).eps)
    for a, b in zip(map(float, was), map(float, now), strict=True):
        if a != b and not (math.isfinite(a) and abs(a - b) <= room * max(1.0, abs(a))):
            return [f"the density (was {a!r} at a point of the run, is {b!r})"]
    return []


def _record(config: dict[str, Any], logdensity: np.ndarray) -> dict[str, Any]:
    # another version may be another algorithm
    config = {f"{name} version": importlib.metadata.version(name) for name in PACKAGES} | config
    config["Python version"] = ".".join(map(str, sys.version_info[:2]))
    for name, value in config.items():
        if not isinstance(value, str | int | float | None):
            config[name] = f"sha256 {digest(value)}"
    return {"format": FORMAT, "config": config, "density": logdensity.tolist()}


def _changed(was: dict[str, Any], now: dict[str, Any], dtype: Any) -> list[str]:
    if was.get("format") != FORMAT:
        return [f"the folder's format (was {was.get('format')}, is {FORMAT})"]
    changed = []
    for name in sorted(was["config"] | now["config"]):
        a, b = (record["config"].get(name) for record in (was, now))
        if a != b:
            changed.append(name if "sha256" in f"{a} {b}" else f"{name} (was {a}, is {b})")
    # the density is compared only if nothing else changed: other data explain other values
    return changed or _changed_density(was["density"], now["density"], dtype)


def _refuse(folder: Path, changed: list[str]) -> None:
    if changed:
        raise ValueError(
            f"checkpoint={str(folder)!r} holds another run: changed since are "
            f"{', '.join(changed)}. Draws of two runs are never mixed: repeat the call that "
            "started the run, name another folder, or delete this one."
        )


def _warn(text: str) -> None:
    warnings.warn(text, RDMCWarning, stacklevel=3)


def _found_record(folder: Path) -> str | None:
    """Read the record of the folder's run: from its own file, or from the first readable part."""
    file = folder / RECORD
    if file.exists():
        try:
            text = file.read_text()
            if {"format", "config", "density"} <= set(json.loads(text)):
                return text
        except (OSError, ValueError, TypeError):
            pass
        _warn(f"[R121]: {file} is damaged; the parts of the run hold copies of it.")
    for part in sorted(folder.glob("*.npz")):
        with contextlib.suppress(ValueError):
            return read_part(part).record
    return None


def open_checkpoint(
    path: str | os.PathLike[str],
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    config: dict[str, Any],
) -> Checkpoint:
    """Open the folder of a run: a new one, or one in which the same run was stopped.

    Two densities are the same if they return the same values. The call's density is compared with
    the folder's, up to rounding, at fixed points around the example position and, when a
    replicate's preparation is loaded, at up to 256 points of its pool. This detects every change
    where the run has mass, whatever its cause. A change only where the run has no point goes
    unnoticed. These evaluations are not part of ``num_evals``. Methods are compared by their
    `repr`, where functions are named only: two different lambdas look alike, and so do objects
    whose `repr` does not show their settings.

    Args:
        path: folder; made if it does not exist.
        rng_key: key of the run.
        logdensity_fn: the density.
        position: example position.
        data: passed to the density if not None.
        config: everything else that the draws depend on, by name.

    Returns:
        `Checkpoint`, whose ``load`` refuses another density as this function does. If a file cannot
        be written, a warning (R120) says so and the run goes on. Damaged parts are named in a
        warning (R121) and computed again.

    Raises:
        TypeError: if ``path`` is no path.
        ValueError: if it is a file, or holds a run of another density, key, data or plan.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"checkpoint must be the path of a folder, but got {path!r}.")
    if jax.process_count() > 1:
        raise ValueError(
            "checkpoint is for runs of one process, but this is one of "
            f"{jax.process_count()}. They could resume from different parts and then wait for "
            "each other for ever. Leave it out."
        )
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"checkpoint={str(path)!r} is a file, but must name a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    density, probes = _compared_density(logdensity_fn, position, data), _probes(position)
    config = {"rng_key": rng_key, "position": position, "data": data, **config}
    now = _record(config, density(probes))
    found = _found_record(folder)
    if found is not None:
        _refuse(folder, _changed(json.loads(found), now, probes.dtype))
    record = json.dumps(now, indent=1) if found is None else found
    has_warned = False

    def attempt(write: Callable[..., None], file: Path, *content: Any) -> None:
        nonlocal has_warned
        try:
            write(file, *content)
        except OSError as error:
            if not has_warned:
                _warn(
                    f"[R120]: the checkpoint {file} could not be written ({error}). The run goes "
                    "on, and its draws will be complete, but parts that are not written cannot be "
                    "resumed. Free some space: later parts are tried again."
                )
            has_warned = True

    def load(name: str, origin: Any, shapes: Callable[[], ArrayTree]) -> ArrayTree | None:
        file = folder / f"{name}.npz"
        if not file.exists():
            return None
        wanted, structure = jax.tree.flatten(shapes())
        try:
            part = read_part(file)
            if part.record != record:
                raise ValueError("belongs to another run")
            if part.origin != digest(origin):
                raise ValueError("was made with another method or pool than the run has now")
            leaves, seen = part.leaves[: len(wanted)], part.leaves[len(wanted) :]
            have = [(leaf.shape, leaf.dtype) for leaf in leaves]
            shaped = [(leaf.shape, leaf.dtype) for leaf in wanted]
            if have != shaped or len(seen) not in (0, 2):
                raise ValueError("has another structure than this version of the library writes")
        except ValueError as error:
            _warn(f"[R121]: the checkpoint part {file} {error}; it is computed again.")
            return None
        if seen:
            points, logdensity = seen
            _refuse(folder, _changed_density(logdensity, density(points), points.dtype))
        return jax.tree.unflatten(structure, leaves)

    def save(name: str, origin: Any, part: ArrayTree) -> None:
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(part)]
        if isinstance(part, Preparation):
            points = _pool_points(part)
            leaves += [points, density(points)]
        attempt(write_part, folder / f"{name}.npz", Part(record, digest(origin), leaves))

    if not (folder / RECORD).exists() or (folder / RECORD).read_text() != record:
        attempt(write_file, folder / RECORD, record.encode())
    return Checkpoint(load, save)
