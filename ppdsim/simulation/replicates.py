"""What the spread of a result is taken over: seeds where they change something, else parts of the one run there is.

A seed draws arrivals, lengths, think times and the random picks of a load balancer. A trace with its own arrivals and
lengths leaves nothing to draw: every seed gives the same run, and an interval over equal runs would have no width. So
such a workload runs once, and its turns in order of their conversations' arrival are parted into `PARTS` pieces of
equal size, which take the place of seeds. :func:`ppdsim.analytical.replications.mean_interval` gives no interval
where all values are equal, so none comes from equal runs whatever calls it.

Not modelled: that a queue carries over from one part to the next, and that a trace is one sample of its service.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from ppdsim.routing.balance import DRAWING
from ppdsim.scenario import Scenario
from ppdsim.simulation.run import conversations_of
from ppdsim.types import NodeRole

PARTS = 10
"""Parts in a row of a run that leaves nothing to chance."""


def is_drawn(scenario: Scenario, seed: int) -> bool:
    """Return whether another seed than `seed` gives another run.

    Raises
    ------
    InputError
        If the workload is missing, malformed or empty.
    """
    return picks_at_random(scenario) or draws_workload(scenario, seed)


def picks_at_random(scenario: Scenario) -> bool:
    """Return whether a load balancer that draws has more than one node to pick from."""
    routing = scenario.routing
    prefill = sum(group.count for group in scenario.fleet if group.role is NodeRole.P)
    decode = sum(group.count for group in scenario.fleet if group.role is not NodeRole.P)
    picks = ((routing.prefill_policy, prefill), (routing.decode_policy, decode))
    return any(name in DRAWING and nodes > 1 for name, nodes in picks)


def draws_workload(scenario: Scenario, seed: int) -> bool:
    """Return whether another seed than `seed` gives other conversations."""
    pairs = zip_longest(conversations_of(scenario, seed), conversations_of(scenario, seed + 1))
    return any(one != other for one, other in pairs)


def parts_of(turns: int) -> Iterator[slice]:
    """Yield the rows of each part of a run of so many turns; fewer parts than `PARTS` where there are fewer turns.

    >>> [(part.start, part.stop) for part in parts_of(25)][:3]
    [(0, 3), (3, 6), (6, 9)]
    """
    count = min(PARTS, turns)
    size, more = divmod(turns, max(count, 1))
    start = 0
    for number in range(count):
        stop = start + size + (number < more)
        yield slice(start, stop)
        start = stop


def basis(*, parts: int, seeds: int) -> str:
    """Return what an interval is over, in words.

    >>> basis(parts=0, seeds=3), basis(parts=10, seeds=3)
    ('3 seeds', '10 parts of this one trace, which no seed changes')
    """
    if parts:
        return f"{parts} parts of this one trace, which no seed changes"
    return f"{seeds} seed" + ("s" if seeds != 1 else "")
