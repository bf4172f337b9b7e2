"""What measures the link alone, without servers: bytes in blocks, from one process of this host to another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ppdsim.engines.client import ShowLine


class TransferPair(Protocol):
    """Source and target, both up."""

    def seconds(self, size_bytes: int, blocks: int, *, repeats: int) -> tuple[float, ...]:
        """Return the seconds of each of `repeats` transfers of `size_bytes` in `blocks` pieces.

        Raises
        ------
        EnvironmentProblem
            If a transfer fails, or bytes did not arrive.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkAlone:
    """How an engine's KV travels, without the engine.

    Attributes
    ----------
    library : str
        The module that moves the bytes.
    packages : tuple of str
        What it may be installed from.
    pair : callable
        Opens a pair for cells up to so many bytes, over a transport, between the memory of two GPUs or of the host
        (None), and tells a line now and then while it waits.
    """

    library: str
    packages: tuple[str, ...]
    pair: Callable[[int, str, tuple[int, int] | None, ShowLine | None], AbstractContextManager[TransferPair]]
