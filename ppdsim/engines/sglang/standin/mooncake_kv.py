"""KV bytes that really travel from P to D, through mooncake's transfer engine over TCP.

Both sides have one buffer a layer and half (K or V), as SGLang has, and a page of tokens is one block in each::

    address(buffer, page) = base + (buffer * pages + page) * page_bytes

P stamps head and tail of every block with the room and the page's place in the prompt, and D reads the stamps when the
transfer is done: a block that did not arrive, or is left over from another request, is noticed. Pages that follow one
another on both sides travel as one block, as in SGLang's grouping. Not modelled: GPU memory.
"""

from __future__ import annotations

import asyncio
import math
import mmap
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim.engines.sglang.standin.clock import AbstractClock
from ppdsim.engines.sglang.standin.handoff import AbstractLink, AbstractSink, Allocated, Done
from ppdsim.engines.sglang.standin.request import Request
from ppdsim.engines.sglang.transfer_engine import open_engine, register
from ppdsim.errors import InputError


class KvBuffers:
    """Registered memory for `pages` pages of `page_bytes` in each of `buffers` buffers."""

    def __init__(self, *, pages: int, page_bytes: int, buffers: int) -> None:
        if page_bytes < 16:
            raise InputError(f"{page_bytes} bytes of KV a page and buffer, expected at least 16")
        self.page_bytes = page_bytes
        self._memory = mmap.mmap(-1, buffers * pages * page_bytes)
        self.blocks: NDArray[np.uint8] = np.frombuffer(self._memory, dtype=np.uint8).reshape(buffers, pages, page_bytes)
        self.engine, self.session = open_engine("tcp")
        register(self.engine, self.base, self.blocks.nbytes)

    @property
    def base(self) -> int:
        """Address of the first byte."""
        return int(self.blocks.ctypes.data)

    def stamp(self, room: int, first: int, pages: Sequence[int]) -> None:
        """Mark blocks as the pages of a prompt from number `first` on."""
        marks = _marks(room, first, len(pages))
        self.blocks[:, pages, :8] = marks
        self.blocks[:, pages, -8:] = ~marks

    def stamped(self, room: int, pages: Sequence[int]) -> NDArray[np.bool_]:
        """Return for each page whether all of its blocks carry its marks."""
        marks = _marks(room, 0, len(pages))
        head = (self.blocks[:, pages, :8] == marks).all(axis=(0, 2))
        tail = (self.blocks[:, pages, -8:] == ~marks).all(axis=(0, 2))
        return np.asarray(head & tail)


def _marks(room: int, first: int, count: int) -> NDArray[np.uint8]:
    numbers = (np.arange(first, first + count, dtype=np.uint64) + np.uint64(room % 2**62) * np.uint64(1 << 20)) + 1
    return numbers.view(np.uint8).reshape(count, 8)


def runs(sources: Sequence[int], targets: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return (source, target, pages) of the runs that are contiguous on both sides.

    >>> runs([0, 1, 2, 3], [7, 8, 3, 4])
    [(0, 7, 2), (2, 3, 2)]
    """
    found: list[tuple[int, int, int]] = []
    for source, target in zip(sources, targets, strict=True):
        if found and source == found[-1][0] + found[-1][2] and target == found[-1][1] + found[-1][2]:
            found[-1] = (*found[-1][:2], found[-1][2] + 1)
        else:
            found.append((source, target, 1))
    return found


class MooncakeSink(AbstractSink):
    """D's side: pages that P writes to."""

    def __init__(self, buffers: KvBuffers) -> None:
        self._buffers = buffers
        self._free = list(range(buffers.blocks.shape[1]))
        self._rooms: dict[int, list[int]] = {}

    def allocate(self, room: int, pages: int) -> Mapping[str, Any]:
        """Take pages; the pool has been asked before, and is no larger than the buffers."""
        taken, self._free = self._free[:pages], self._free[pages:]
        self._rooms[room] = taken
        return {
            "session": self._buffers.session,
            "base": self._buffers.base,
            "stride": self._buffers.blocks.shape[1] * self._buffers.page_bytes,
            "pages": taken,
        }

    def problem(self, room: int) -> str | None:
        """Return which pages did not arrive, or None."""
        pages = self._rooms[room]
        missing = np.flatnonzero(~self._buffers.stamped(room, pages))
        if not len(missing):
            return None
        return f"{len(missing)} of {len(pages)} pages did not arrive, the first of them page {missing[0]}"

    def free(self, room: int) -> None:
        """Return a room's pages; the next prompt gets others first, so that the free list scatters as in use."""
        self._free += self._rooms.pop(room, [])


class MooncakeLink(AbstractLink):
    """P's side: one worker a destination, so that transfers to one D are first in, first out, as in SGLang."""

    def __init__(self, buffers: KvBuffers, page_tokens: int, clock: AbstractClock) -> None:
        self._buffers = buffers
        self._page_tokens = page_tokens
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._workers: dict[str, ThreadPoolExecutor] = {}
        self._sent_tokens: dict[str, float] = {}
        self._problems: dict[str, str] = {}

    def send(
        self,
        request: Request,
        allocated: Allocated,
        time_s: float,
        tokens: float,
        done: Done | None = None,
    ) -> None:
        """Queue the pages that are complete; the last send takes the rest."""
        before = self._sent_tokens.get(request.rid, 0.0)
        after = before + tokens
        first = int(before // self._page_tokens)
        targets = allocated.sink["pages"]
        upto = len(targets) if done is not None else min(int(after // self._page_tokens), len(targets))
        self._sent_tokens[request.rid] = after
        worker = self._workers.setdefault(allocated.destination, ThreadPoolExecutor(1, "mooncake"))
        future = worker.submit(self._write, allocated, first, targets[first:upto])

        def written(problem: str | None) -> None:
            if problem is not None:
                self._problems[request.rid] = problem
            if done is not None:
                del self._sent_tokens[request.rid]
                done(self._clock.now_s(), self._problems.pop(request.rid, None))

        future.add_done_callback(lambda ended: self._loop.call_soon_threadsafe(written, _outcome(ended.exception())))

    def _write(self, allocated: Allocated, first: int, targets: Sequence[int]) -> None:
        if not targets:
            return
        sink, mine = allocated.sink, self._buffers
        # A send ends before the next of this worker begins, so every send may use the same source pages.
        sources = list(range(len(targets)))
        mine.stamp(allocated.room, first, sources)
        stride, size = mine.blocks.shape[1] * mine.page_bytes, mine.page_bytes
        pieces = [
            (buffer, source, target, count)
            for buffer in range(mine.blocks.shape[0])
            for source, target, count in runs(sources, targets)
        ]
        result = mine.engine.batch_transfer_sync_write(
            sink["session"],
            [mine.base + buffer * stride + source * size for buffer, source, _, _ in pieces],
            [sink["base"] + buffer * sink["stride"] + target * size for buffer, _, target, _ in pieces],
            [count * size for _, _, _, count in pieces],
        )
        if result < 0:
            raise ConnectionError(f"mooncake returned {result} for {len(pieces)} blocks to {sink['session']}")


def _outcome(error: BaseException | None) -> str | None:
    return None if error is None else str(error)


def page_bytes(kv_bytes_per_token: int, page_tokens: int, buffers: int) -> int:
    """Return the bytes of one page in one buffer [B]."""
    return math.ceil(kv_bytes_per_token * page_tokens / buffers)
