"""Files that appear whole or not at all: written under a name of their own beside the file, then renamed over it.

What it does not know: which of two processes that write one file comes last; each leaves a whole one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield where to write: it becomes the file at `path` when the block ends, and is gone where the block fails.

    The folder is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield scratch
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> Path:
    """Write bytes, or text as UTF-8, and return the path."""
    with whole(path) as scratch:
        scratch.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
