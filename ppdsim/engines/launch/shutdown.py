"""Ending servers: SIGTERM to everything that belongs to them, SIGKILL after a bound, and a look at what is left.

The engine answers SIGTERM by letting running requests end, which never ends when one hangs.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Sequence

from ppdsim.machine.ports import is_free
from ppdsim.machine.process_tree import Family

KILL_TIMEOUT_S = 10.0
"""Bound on processes being gone after SIGKILL [s]; one that waits for a GPU driver takes seconds."""
PORT_TIMEOUT_S = 5.0
POLL_S = 0.02


def take_down(
    families: Sequence[Family],
    *,
    grace_s: float,
    hurried: Callable[[], bool] = lambda: False,
    reap: Callable[[], None] = lambda: None,
) -> list[int]:
    """End all processes of `families` and return the pids of those that did not go.

    Parameters
    ----------
    families : sequence of Family
        Whose processes to end.
    grace_s : float
        Time between SIGTERM and SIGKILL [s].
    hurried : callable
        Tells that the time is not to be waited for (a second Ctrl-C).
    reap : callable
        Collects children of this process that have ended.
    """
    left = list(families)
    until_s = time.monotonic() + grace_s
    for family in left:
        family.signal(signal.SIGTERM)
    while left and time.monotonic() < until_s and not hurried():
        time.sleep(POLL_S)
        reap()
        left = [family for family in left if family.look()]
    until_s = time.monotonic() + KILL_TIMEOUT_S
    while left and time.monotonic() < until_s:
        # Again each time: a process may have started another one since.
        for family in left:
            family.signal(signal.SIGKILL)
        time.sleep(POLL_S)
        reap()
        left = [family for family in left if family.look()]
    return sorted(pid for family in left for pid in family.look())


def still_held(places: Iterable[tuple[str, int]]) -> list[int]:
    """Return the ports of (host, port) that are not free again within a bound; the kernel may need a moment."""
    left = list(places)
    until_s = time.monotonic() + PORT_TIMEOUT_S
    while left := [place for place in left if not is_free(*place)]:
        if time.monotonic() > until_s:
            break
        time.sleep(POLL_S)
    return sorted(port for _, port in left)
