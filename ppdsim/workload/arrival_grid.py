"""Timestamps that a coarse clock wrote: many requests share each of its ticks, and nothing lies between two ticks.

The published Mooncake conversation trace is of this kind: its stamps lie within milliseconds of multiples of 3 s, about
nine requests each. Played as written they would be bursts that the service never saw. A file is taken for such a trace
iff all of this holds::

    ticks     at least FEWEST_TICKS different instants
    crowded   at least ROWS_A_TICK rows an instant, on average
    grid      every stamp within SLACK_S of first stamp + k x spacing; spacing: the shortest gap, in steps of STEP_S
    filled    at least FILLED of the grid's ticks between the first stamp and the last one have a row

So a batch that is sent at one instant stays one, and so do bursts with pauses of different lengths between them.
Spreading adds to each stamp a draw from [0, spacing); the rows of a tick keep the order of the file.

Not modelled: that arrivals within a tick may have a rate that changes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST_TICKS = 3
"""Fewest instants that make a grid: two have one gap, which says nothing [1]."""
ROWS_A_TICK = 2.0
"""Fewest rows an instant, on average, that count as crowded; the published trace has nine [1]."""
STEP_S = 0.1
"""A clock's period is a multiple of this [s]; the published trace's is 3 s."""
SLACK_S = 0.02
"""Largest distance of a stamp from its tick; twice the 10 ms that the published trace's lie from theirs [s]."""
FILLED = 0.5
"""Smallest share of the ticks that have a row [1]."""


def spacing_s(times_s: Floats) -> float | None:
    """Return the period of the clock that wrote the stamps, or None if they are not of this kind [s]."""
    if not len(times_s):
        return None
    different = np.unique(times_s)
    instants = different[np.concatenate(([True], np.diff(different) > SLACK_S))]
    if len(instants) < FEWEST_TICKS or len(times_s) < ROWS_A_TICK * len(instants):
        return None
    spacing = STEP_S * round(float(np.diff(instants).min()) / STEP_S)
    if not spacing:
        return None
    ticks = (different - different[0]) / spacing
    if np.abs(ticks - np.rint(ticks)).max() * spacing > SLACK_S:
        return None
    return spacing if len(instants) >= FILLED * (ticks[-1] + 1.0) else None


def spread_s(times_s: Floats, spacing: float, rng: np.random.Generator) -> Floats:
    """Return each stamp plus a draw from [0, spacing), in the order of the file within a tick [s]."""
    draws_s = rng.uniform(0.0, spacing, len(times_s))
    ticks = np.rint((times_s - times_s.min()) / spacing)
    found_s = np.empty_like(times_s)
    found_s[np.argsort(times_s, kind="stable")] = np.sort(times_s) + draws_s[np.lexsort((draws_s, ticks))]
    return found_s
