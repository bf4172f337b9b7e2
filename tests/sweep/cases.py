"""Small sweeps that tests share: short chats on one pair, and a pool of threads behind the executors' interface."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from ppdsim.sweep.axes import parse_axes
from ppdsim.sweep.measures import COLUMNS
from ppdsim.sweep.plan import SweepPlan, make_plan

SHORT = ("workload.conversations=6",)
GRID = ("routing.policy=always-p,cost-aware", "workload.arrivals.rate_per_s=1,2,4")


def plan(*grid: str, seeds: int = 2, settings: tuple[str, ...] = SHORT, **more) -> SweepPlan:
    """Return the plan of a short sweep."""
    return make_plan("one-pair", parse_axes(grid or GRID), seeds=seeds, settings=settings, **more)


@contextmanager
def threads(rows: int) -> Iterator[Executor]:
    """Start one thread: the tests of everything but the executors need no processes."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def row(**values: object) -> dict[str, object]:
    """Return a row of a run of 10 turns that all ended, with these columns changed."""
    usual: dict[str, object] = dict.fromkeys(COLUMNS, 1.0)
    return {**usual, "label": "STABLE", "turns": 10, "ok": 10, "extrapolated": 0.0, **values}
