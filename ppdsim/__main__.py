"""The ``ppdsim`` script, and ``python -m ppdsim``.

Signals are taken before anything heavy is imported, so that an interrupt is one line and exit code 130 at any time.
SIGTERM does what Ctrl-C does.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from ppdsim.errors import EXIT_INTERRUPTED


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    # A signal that is ignored (nohup) stays ignored.
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, as_ctrl_c)
    try:
        from ppdsim.cli.app import run

        code = run()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        code = EXIT_INTERRUPTED
    # All is said and written: a signal that comes now ends the process at once.
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    if code == EXIT_INTERRUPTED:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """End the process with `code`.

    CPython started with ``-m`` ends itself by SIGINT where Ctrl-C came inside ``exec`` of a text, as making a dataclass
    is, although the interrupt was handled (`unhandled_keyboard_interrupt` in its pythonrun.c).
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _end(*_: object) -> NoReturn:
    os._exit(EXIT_INTERRUPTED)


def as_ctrl_c(_: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does at this moment: an event loop has a handler of its own for it."""
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt


if __name__ == "__main__":
    main()
