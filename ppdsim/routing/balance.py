"""sglang-router's load balancing: which node of a role takes a request. P and D are picked apart, each by its policy.

::

    random        any node                                    (mini-lb does this for both roles, and nothing else)
    round_robin   request number modulo nodes
    power_of_two  the less loaded of two different random nodes; the first drawn on a tie
    cache_aware   if max - min > 64 and max > 1.5 min: least loaded; else the node with most of the prompt where that
                  is more than 0.3 of it; else least loaded
    manual        least loaded, and the same node ever after (header X-SMG-Routing-Key, sticky sessions)

Loads are requests in flight. Source: sglang-router 0.3.2, sgl-model-gateway/src/policies/{random, round_robin,
power_of_two, cache_aware, manual}.rs, constants in its ``--help``. cache_aware there matches request text against an
approximate tree of what it sent; here it asks the node's cache, so it knows of evictions that the router does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from ppdsim.registry import Registry

CACHE_THRESHOLD = 0.3
"""``--cache-threshold`` [share of the prompt]."""
BALANCE_ABS_THRESHOLD = 64
"""``--balance-abs-threshold`` [requests]."""
BALANCE_REL_THRESHOLD = 1.5
"""``--balance-rel-threshold`` [1]."""


class Candidates(NamedTuple):
    """The nodes of a role as a request arrives (a tuple: one is made for each request).

    Attributes
    ----------
    loads : sequence of int
        Requests in flight on each node.
    cached_share : callable
        Returns the share of the prompt that each node has cached; called only by policies that ask.
    number : int
        Requests of this role that were picked for before, from 0.
    last : int or None
        Position of the node that took the conversation's last request.
    rng : numpy.random.Generator
        Where random picks come from.
    """

    loads: Sequence[int]
    cached_share: Callable[[], Sequence[float]]
    number: int
    last: int | None
    rng: np.random.Generator


Balancer: TypeAlias = Callable[[Candidates], int]


def least_loaded(nodes: Candidates) -> int:
    """Return the position of the first node with the fewest requests."""
    return nodes.loads.index(min(nodes.loads))


def random(nodes: Candidates) -> int:
    """Return any position."""
    return int(nodes.rng.integers(len(nodes.loads)))


def round_robin(nodes: Candidates) -> int:
    """Return the positions in turn."""
    return nodes.number % len(nodes.loads)


def power_of_two(nodes: Candidates) -> int:
    """Return the less loaded of two different positions."""
    count = len(nodes.loads)
    if count == 1:
        return 0
    first = int(nodes.rng.integers(count))
    second = (first + 1 + int(nodes.rng.integers(count - 1))) % count
    return first if nodes.loads[first] <= nodes.loads[second] else second


def cache_aware(nodes: Candidates) -> int:
    """Return the position with the best match, unless loads are out of balance or no match is good."""
    low, high = min(nodes.loads), max(nodes.loads)
    if high - low > BALANCE_ABS_THRESHOLD and high > BALANCE_REL_THRESHOLD * low:
        return least_loaded(nodes)
    shares = nodes.cached_share()
    best = max(shares)
    return shares.index(best) if best > CACHE_THRESHOLD else least_loaded(nodes)


def manual(nodes: Candidates) -> int:
    """Return the conversation's last position; for a new one the least loaded."""
    return least_loaded(nodes) if nodes.last is None else nodes.last


DRAWING = ("random", "power_of_two")
"""Balancers that ask their generator for random picks."""

BALANCERS: Registry[Balancer] = Registry(
    "load-balancing policy",
    {
        "random": random,
        "round_robin": round_robin,
        "power_of_two": power_of_two,
        "cache_aware": cache_aware,
        "manual": manual,
    },
)
