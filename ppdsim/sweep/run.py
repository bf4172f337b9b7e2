"""Run a sweep: what is not on disk yet goes to the executor, each row is kept as soon as it has ended.

::

    rows = {(point, seed): columns}       from the store where its content hash is known, else from a worker

The order in which rows end decides nothing: the table is in the order of the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any

from ppdsim.sweep.answer import SweepAnswer
from ppdsim.sweep.axes import axis, distinct
from ppdsim.sweep.executors import StartExecutor, cluster, local
from ppdsim.sweep.identity import row_key
from ppdsim.sweep.measures import MEASURES, Rows
from ppdsim.sweep.plan import SweepPlan, make_plan
from ppdsim.sweep.row import RowTask, run_row
from ppdsim.sweep.save import save
from ppdsim.sweep.store import RowStore
from ppdsim.sweep.summary import summarise

Progress = Callable[[int, int], None]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in mid-sweep; `rows` has those that had ended by then."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows = rows


def sweep(
    scenario: str | Path,
    grid: Mapping[str, Sequence[object]],
    *,
    seeds: int,
    out: Path,
    settings: Sequence[str] = (),
    jobs: int | None = None,
    address: str | None = None,
    by: str | None = None,
    progress: Progress | None = None,
) -> SweepAnswer:
    """Run a sweep and return its answer; the table, the answer and the rows lie in `out`.

    Parameters
    ----------
    scenario
        Name of an installed scenario, or the path of a file.
    grid
        Values by dotted key, as they would stand in the file.
    seeds
        Seeds of each point.
    settings
        ``key=value`` texts that hold at every point.
    jobs, address
        Processes on this machine (by default one a core), or the address of a dask scheduler instead.
    by
        Column to judge by, one of `MEASURES`; by default J.
    progress
        Called with the rows that have ended and all of them.

    Raises
    ------
    InputError
        If the grid or the scenario is wrong; nothing has been run by then.
    EnvironmentProblem
        If the cluster cannot be used, or a worker was lost for good.
    """
    judged = next(iter(MEASURES)) if by is None else MEASURES[by].column
    axes = distinct([axis(key, values) for key, values in grid.items()])
    plan = make_plan(scenario, axes, seeds=seeds, settings=settings)
    rows = run_rows(plan, out, local(jobs) if address is None else cluster(address), progress)
    answer = summarise(plan, rows, judged)
    save(plan, rows, answer, out)
    return answer


def run_rows(plan: SweepPlan, folder: Path, start: StartExecutor, progress: Progress | None = None) -> Rows:
    """Return all rows of a plan, running those that the folder does not hold.

    Raises
    ------
    Interrupted
        On Ctrl-C.
    """
    store = RowStore(folder)
    places: dict[str, list[tuple[int, int]]] = {}
    tasks: dict[str, RowTask] = {}
    for number, point in enumerate(plan.points):
        for seed in plan.seeds:
            of = seed if point.drawn else plan.seeds[0]
            key = row_key(point.scenario, of)
            # Two texts may say the same value, and seeds may change nothing; such a row is run once.
            places.setdefault(key, []).append((number, seed))
            tasks[key] = RowTask(
                scenario=point.scenario, seed=of, key=key, point=plan.name_of(point), drawn=point.drawn
            )
    rows: Rows = {}

    def record_row(key: str, row: dict[str, Any]) -> None:
        rows.update(dict.fromkeys(places[key], row))

    def report_progress() -> None:
        if progress is not None:
            progress(len(rows), len(plan.points) * len(plan.seeds))

    for key in tasks:
        row = store.get(key)
        if row is not None:
            record_row(key, row)
            report_progress()
    left = [task for key, task in tasks.items() if places[key][0] not in rows]
    if left:
        _run(left, store, start, record_row, report_progress, rows)
    return rows


def _run(
    tasks: Sequence[RowTask],
    store: RowStore,
    start: StartExecutor,
    record_row: Callable[[str, dict[str, Any]], None],
    report_progress: Callable[[], None],
    rows: Rows,
) -> None:
    futures: dict[Future[dict[str, Any]], str] = {}
    try:
        with start(len(tasks)) as executor:
            for task in tasks:
                futures[executor.submit(run_row, task)] = task.key
            for future in as_completed(futures):
                row = future.result()
                store.put(futures[future], row)
                record_row(futures.pop(future), row)
                report_progress()
    except BaseException as problem:
        # What ended while nobody looked is kept too, without a word: progress may be what was interrupted.
        for future, key in futures.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                store.put(key, future.result())
                record_row(key, future.result())
        if isinstance(problem, KeyboardInterrupt):
            raise Interrupted(rows) from None
        raise
