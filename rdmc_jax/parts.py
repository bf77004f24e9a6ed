"""Files that are whole or absent, and say when they are damaged."""

import contextlib
import io
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

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
