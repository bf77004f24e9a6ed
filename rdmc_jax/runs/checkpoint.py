"""Files that are whole or absent, and say when they are damaged."""

import contextlib
import importlib.metadata
import io
import json
import math
import os
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..target.flat import value_at
from ..types import ArrayTree, LogDensityFn, PRNGKey, RDMCWarning
from .described import described, digest


class Part(NamedTuple):
    """Arrays with the record of the run that they belong to."""

    record: str
    origin: str  # what else they were made of, as far as the run itself has decided that
    leaves: list[np.ndarray]


def write_file(file: Path, content: bytes) -> None:
    """Write under a temporary name, then rename: readers see all of it or nothing.

    Raises:
        OSError: if the disk is full, say; what was there before is then still there.
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


def _checksum(name: str, part: Part) -> str:
    return digest(name, part.record, part.origin, described(part.leaves))


def write_part(file: Path, part: Part) -> None:
    """Write arrays with the record of their run and a checksum of all, the file's name included.

    Raises:
        OSError: as `write_file`.
    """
    members = {f"leaf{k}": leaf for k, leaf in enumerate(part.leaves)}
    members |= {"record": np.asarray(part.record), "origin": np.asarray(part.origin)}
    members |= {"checksum": np.asarray(_checksum(file.stem, part))}
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **members)
    write_file(file, stream.getvalue())


def read_part(file: Path) -> Part:
    """What `write_part` wrote.

    Raises:
        ValueError: if the file is damaged; its text goes on from the file's name.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "part.npz"
    >>> write_part(file, Part("of a run", "", [np.arange(3)]))
    >>> read_part(file).leaves[0].tolist()
    [0, 1, 2]
    >>> _ = file.write_bytes(file.read_bytes()[:-7])
    >>> read_part(file)
    Traceback (most recent call last):
    ValueError: cannot be read (...)
    """
    try:
        content = io.BytesIO(file.read_bytes())
        with np.load(content, allow_pickle=False) as members:
            leaves = [members[f"leaf{k}"] for k in range(len(members.files) - 3)]
            part = Part(str(members["record"]), str(members["origin"]), leaves)
            checksum = str(members["checksum"])
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(f"cannot be read ({error})") from error
    if checksum != _checksum(file.stem, part):
        raise ValueError("does not have its checksum")
    return part


FORMAT = 3
RECORD = "run.json"
DENSITY = "logdensity_fn or what it refers to"
PROBES = 16
"""Points at which the density of the folder and that of the call are compared."""
ROUNDING = 16.0
"""Units in the last place by which two machines may differ in the density of one point."""


class Checkpoint(NamedTuple):
    """Where finished parts go; `nowhere` keeps nothing."""

    load: Callable[[str, str, Callable[[], ArrayTree]], ArrayTree | None]
    """``(name, origin, shapes)``, the last a function that returns the part's structure; None: not
    there, or made of something else."""
    save: Callable[[str, str, ArrayTree], None]
    """``(name, origin, part)``"""
    origin: Callable[..., str]
    """A digest of what a part is made of, beside what the run was called with."""


nowhere = Checkpoint(
    lambda name, origin, shapes: None, lambda name, origin, part: None, lambda *parts: ""
)


def _probes(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any) -> list[float]:
    """The density at the example position and at fixed steps from it, of all sizes."""
    leaves, structure = jax.tree.flatten(position)
    values = []
    for k in range(PROBES):
        rng = np.random.default_rng(k)
        size = 0.0 if k == 0 else 2.0 ** (k - 6)  # 1/32 ... 512
        moved = [
            jnp.asarray(leaf + size * rng.standard_normal(np.shape(leaf)), leaf.dtype)
            for leaf in leaves
        ]
        value = value_at(logdensity_fn, jax.tree.unflatten(structure, moved), data)
        values.append(float(value))
    return values


def _record(config: dict[str, Any], values: list[float], dtype: Any) -> dict[str, Any]:
    described_config = {name: digest(described(value)) for name, value in config.items()}
    # another version may be another algorithm, and another Python has other code
    for package in ("rdmc_jax", "jax"):
        described_config[f"{package} version"] = importlib.metadata.version(package)
    described_config["Python version"] = ".".join(map(str, sys.version_info[:2]))
    shown = {k: v for k, v in config.items() if isinstance(v, int)}
    return {
        "format": FORMAT,
        "config": described_config,
        "shown": shown,
        "density": values,
        "dtype": str(dtype),
    }


def _is_same_value(was: float, now: float, dtype: str) -> bool:
    if was == now or (math.isnan(was) and math.isnan(now)):
        return True
    room = ROUNDING * float(jnp.finfo(dtype).eps) * max(1.0, abs(was))
    return math.isfinite(was) and abs(was - now) <= room


def _changed(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    if was.get("format") != FORMAT:
        return [f"the folder's format (was {was.get('format')}, is {FORMAT})"]
    changed = []
    for name in sorted(set(was["config"]) | set(now["config"])):
        if was["config"].get(name) != now["config"].get(name):
            values = [record["shown"].get(name) for record in (was, now)]
            is_known = None not in values
            changed.append(f"{name} (was {values[0]}, is {values[1]})" if is_known else name)
    # at another position, or with other data, other values say nothing more
    if set(changed) <= {DENSITY}:
        for a, b in zip(was["density"], now["density"], strict=True):
            if not _is_same_value(a, b, now["dtype"]):
                return [*changed, f"the density (was {a!r} at a fixed point, is {b!r})"]
    return changed


def _refuse_changed(folder: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    changed = _changed(was, now)
    if changed:
        raise ValueError(
            f"checkpoint={str(folder)!r} holds another run: changed since are "
            f"{', '.join(changed)}. Draws of two runs are never mixed: call with what the run was "
            "started with, name another folder, or delete this one."
        )


def _warn(text: str) -> None:
    warnings.warn(text, RDMCWarning, stacklevel=3)


def _found_record(folder: Path) -> str | None:
    """The record of the run in the folder: its own file, or the first readable part's copy."""
    file = folder / RECORD
    parts = sorted(folder.glob("*.npz"))
    if file.exists():
        try:
            text = file.read_text()
            if {"config", "shown", "density", "dtype"} <= set(json.loads(text)):
                return text
        except (OSError, ValueError, TypeError):
            pass
        _warn(f"[R121]: {file} is damaged; the parts of the run hold copies of it.")
    for part in parts:
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
    """The folder of a run: a new one, or one that the same run was stopped in.

    Args:
        path: folder; made if it is not there.
        rng_key: of the run.
        logdensity_fn: compared by its code, that of what it calls, and its values at fixed points.
        position: example position.
        data: passed to the density if not None.
        config: everything else that decides about the draws, by name.

    Returns:
        `Checkpoint`. What cannot be written is said in a warning (R120), and the run goes on; parts
        that are damaged are named in a warning (R121) and made again.

    Raises:
        TypeError: if ``path`` is no path.
        ValueError: if it is a file, or holds a run of another density, key, data or plan.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"checkpoint must be the path of a folder, but got {path!r}.")
    if jax.process_count() > 1:
        raise ValueError(
            "checkpoint is for runs of one process, but this is one of "
            f"{jax.process_count()}: they could resume from different parts and then wait for "
            "each other for ever. Leave it out."
        )
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"checkpoint={str(path)!r} is a file, but must name a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    values = _probes(logdensity_fn, position, data)
    config = {
        "rng_key": rng_key,
        "position": position,
        "data": data,
        DENSITY: logdensity_fn,
        **config,
    }
    now = _record(config, values, jax.tree.leaves(position)[0].dtype)
    found = _found_record(folder)
    if found is not None:
        _refuse_changed(folder, json.loads(found), now)
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
                    "on, and its draws will be complete, but what is not written cannot be "
                    "resumed. Free some space: later parts are tried again."
                )
            has_warned = True

    def load(name: str, origin: str, shapes: Callable[[], ArrayTree]) -> ArrayTree | None:
        file = folder / f"{name}.npz"
        if not file.exists():
            return None
        wanted, structure = jax.tree.flatten(shapes())
        try:
            part = read_part(file)
            if part.record != record:
                raise ValueError("belongs to another run")
            if part.origin != origin:
                raise ValueError("was made with another method or pool than the run has now")
            have = [(leaf.shape, leaf.dtype) for leaf in part.leaves]
            if have != [(leaf.shape, leaf.dtype) for leaf in wanted]:
                raise ValueError("has another structure than this version of the library writes")
        except ValueError as error:
            _warn(f"[R121]: the checkpoint part {file} {error}; it is computed again.")
            return None
        return jax.tree.unflatten(structure, part.leaves)

    def save(name: str, origin: str, part: ArrayTree) -> None:
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(part)]
        attempt(write_part, folder / f"{name}.npz", Part(record, origin, leaves))

    if not (folder / RECORD).exists() or (folder / RECORD).read_text() != record:
        attempt(write_file, folder / RECORD, record.encode())
    return Checkpoint(load, save, lambda *parts: digest(*map(described, parts)))
