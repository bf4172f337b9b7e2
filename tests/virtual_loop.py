"""An asyncio event loop whose time is virtual: waiting costs nothing, and every wait lasts exactly as long as asked.

Where a loop would sleep until its next timer, this one moves its clock there. Code written for real time
(`asyncio.sleep`, `asyncio.wait_for`) runs on it unchanged. Not modelled: other threads and sockets, for which
it waits only when no timer is set.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

STUCK_S = 10.0
"""Real time [s] without a timer, a thread or a socket after which the loop is stuck for good."""


class _JumpingSelector(selectors.DefaultSelector):
    """Moves the virtual clock where a selector would wait."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None:
            self.now_s += max(timeout, 0.0)
            return super().select(0)
        found = super().select(STUCK_S)
        if not found:
            raise RuntimeError("the virtual event loop waits for something that no timer brings")
        return found


class VirtualEventLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time that starts at 0."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        # A timer due within this of now runs now: rounding must not make the loop wait for nothing.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Return the virtual time [s]."""
        return self._jumping.now_s


def run_virtually(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on virtual time and return its result.

    Raises
    ------
    RuntimeError
        If it waits for something that can never happen.
    """
    loop = VirtualEventLoop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        try:
            loop.run_until_complete(_cancel_the_rest())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


async def _cancel_the_rest() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
