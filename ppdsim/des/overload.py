"""Abort criterion of a run: the backlog exceeds the work completed.

Looked at when 1,000, 2,000, 4,000 ... conversations have started, so it costs nothing a turn::

    hopeless: at least 10,000 turns sent, more than a third of them without a first token (they wait, or have timed
              out), and half of those that wait have done so for more than a minute

At a steady load a turn without a first token is one of the last few; a third of all turns are that only if the fleet is
offered 1.5 times what it serves, or more. A smaller overload, and a run of fewer turns, is simulated to its end: the
backlog is served when no more conversations start. A burst that comes at one instant has waited for no time, so it is
never stopped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppdsim.des.turns import TIMED_OUT, UNFINISHED, Turns
from ppdsim.metrics import median

FIRST_LOOK = 1_000
"""Conversations after which the backlog is looked at first [conversations]."""
LEAST_SENT = 10_000
"""Turns sent before a run is given up [turns]."""
WITHOUT_TOKEN = 1.0 / 3.0
"""Share of the turns sent that is too many to be without a first token [1]."""
LONG_WAIT_S = 60.0
"""Median wait of those from which waiting counts as hopeless [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overload:
    """A run that was given up at `time_s`."""

    time_s: float
    sent: int
    waiting: int
    timed_out: int
    median_wait_s: float
    never_sent: int

    def __str__(self) -> str:
        return (
            f"stopped at {self.time_s:.0f} s: {self.waiting} of {self.sent} turns sent waited for a first token, half"
            f" of them for more than {self.median_wait_s:.0f} s, {self.timed_out} had timed out, {self.never_sent}"
            " were never sent"
            " (--set stop_when_overloaded=false goes on to the end)"
        )


def look(turns: Turns, time_s: float) -> Overload | None:
    """Return why a run should be given up at `time_s`, or None."""
    arrival, first = np.array(turns.t_arrival), np.array(turns.t_first)
    status = np.frombuffer(bytes(turns.status), dtype=np.uint8)
    sent = ~np.isnan(arrival)
    waiting = sent & np.isnan(first) & (status == UNFINISHED)
    timed_out = status == TIMED_OUT
    if sent.sum() < LEAST_SENT or waiting.sum() + timed_out.sum() <= WITHOUT_TOKEN * sent.sum() or not waiting.any():
        return None
    wait_s = median(time_s - arrival[waiting])
    if wait_s <= LONG_WAIT_S:
        return None
    return Overload(
        time_s=time_s,
        sent=int(sent.sum()),
        waiting=int(waiting.sum()),
        timed_out=int(timed_out.sum()),
        median_wait_s=wait_s,
        never_sent=int((~sent & (status == UNFINISHED)).sum()),
    )
