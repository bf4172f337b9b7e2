"""Files that appear whole or not at all: written under a name of their own beside the file, then renamed over it.

File and folder are synced, so that this holds after a power cut too. A full or read-only disk is a problem of the
machine, and the file is named.

Not modelled: which of two processes that write one file comes last; each leaves a whole one.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppdsim.errors import EnvironmentProblem, InputError

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO})
"""Errors of the machine's disk, whatever the user asked for: full, over quota, read-only, broken."""
PROBE_BYTES = 4096
"""What is written to find out whether a folder takes files [bytes]: a block."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield where to write: it becomes the file at `path` when the block ends, and is gone where the block fails.

    The folder is made where it is missing.

    Raises
    ------
    EnvironmentProblem
        If the disk is full, over quota, read-only or broken.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            yield scratch
            _sync(scratch)
            os.replace(scratch, path)
            if os.name == "posix":
                _sync(path.parent)
        finally:
            scratch.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> Path:
    """Write bytes, or text as UTF-8, and return the path; the errors are those of `whole`."""
    with whole(path) as scratch:
        scratch.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in what a full or read-only disk says of the block: the system itself names none.

    Raises
    ------
    EnvironmentProblem
        In the place of an `OSError` of `NO_ROOM`.
    """
    try:
        yield
    except OSError as problem:
        if problem.errno not in NO_ROOM:
            raise
        raise EnvironmentProblem(f"{path}: cannot be written ({problem.strerror})") from None


def check_writable(folder: Path, said: str) -> None:
    """Find out, before any work is done, whether a folder takes files; one that is missing, whether it can be made.

    A file without a name is written to it and dropped.

    Parameters
    ----------
    said : str
        What named the folder: the start of the errors.

    Raises
    ------
    InputError
        If there is no permission to.
    EnvironmentProblem
        If its disk is full, over quota or read-only.
    """
    place = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0" * PROBE_BYTES)
    except OSError as problem:
        text = f"{said}: {place} cannot be written to ({problem.strerror})"
        raise (EnvironmentProblem if problem.errno in NO_ROOM else InputError)(text) from None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
