"""Ctrl-C, SIGTERM and SIGHUP while servers run: one and the same, and none in the middle of a start or a take-down.

Python acts on signals in the main thread only; elsewhere this does nothing, and nothing can be interrupted either.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Handlers of this process's signals between `take` and `give_back`.

    Three ways to treat one: kept until the block ends (`shielded`), raised as KeyboardInterrupt at once (`raising`, for
    a block that waits), and otherwise left to whatever handled Ctrl-C before, an event loop's handler for one.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._shields = 0
        self._raises = False
        self.pending = 0

    def take(self) -> None:
        """Install the handlers; a signal that was ignored (nohup, a job in the background) stays ignored."""
        if threading.current_thread() is not threading.main_thread() or self._before:
            return
        for number in SIGNALS:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._handle)

    def give_back(self) -> None:
        """Install what was there before."""
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Keep signals until the block ends; then they interrupt, unless the block failed by itself."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        if self.pending and not self._shields:
            self.pending = 0
            raise KeyboardInterrupt

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Raise KeyboardInterrupt at once, whoever handled Ctrl-C before."""
        self._raises = True
        try:
            yield
        finally:
            self._raises = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._shields:
            self.pending += 1
            return
        before: Callable[[int, FrameType | None], Any] | Any = self._before.get(signal.SIGINT)
        if self._raises or not callable(before):
            raise KeyboardInterrupt
        before(signal.SIGINT, frame)
