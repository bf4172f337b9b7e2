"""One run at a time in a folder: two that append to one raw file would mix their rows and abort each other's requests.

The lock is the operating system's (flock), on a file in the folder that says who holds it. It ends with the process
that holds it, however that ends, so a dead run never blocks a folder, and the file may stay.

Not modelled: file systems without such locks; they are refused by name.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppdsim.errors import EnvironmentProblem

LOCK = ".lock"


class FolderInUse(EnvironmentProblem):
    """Another run measures into a folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder while the block runs; it is made where it is missing.

    Raises
    ------
    FolderInUse
        If another run holds it.
    EnvironmentProblem
        If its file system has no locks.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            raise FolderInUse(f"{folder}: {holder} measures into it; wait for it, or give another -o") from None
        except OSError as problem:
            raise EnvironmentProblem(
                f"{folder}: cannot be locked ({problem.strerror}); give a folder of a local disk with -o"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
