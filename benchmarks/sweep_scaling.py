"""How a sweep scales with processes and with dask workers on this machine: the last lines of `simulator.py`.

The same rows each time, from an empty folder; the start of the processes is inside the time, that of the dask workers
(a scheduler and workers of its own, on this machine) is not. "no pool" calls the row's function in this process.
Resumed: all rows are on disk. Each is the best of some rounds. Rates depend on the machine and on what else it does;
compare the ratios. CPU is that of this process and of the processes it started and ended (not of dask's workers): on a
busy machine it shows what the pool adds, where the time does not.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from ppdsim.sweep.axes import parse_axes
from ppdsim.sweep.executors import StartExecutor, cluster, local
from ppdsim.sweep.plan import make_plan
from ppdsim.sweep.run import run_rows

GRID = ("routing.policy=always-p,cost-aware", "workload.arrivals.rate_per_s=0.5,1,1.5,2")
WORKERS = (1, 2)
HAS_DASK = find_spec("distributed") is not None


def cpu_s() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


@contextmanager
def no_pool(rows: int) -> Iterator[Executor]:  # noqa: ARG001  (a `StartExecutor`)
    with ThreadPoolExecutor(1) as pool:
        yield pool


@contextmanager
def dask_workers(count: int, folder: Path) -> Iterator[str]:
    from distributed import Client

    def start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        here = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *arguments, *here],
            cwd=folder,
            stdout=quiet,
            stderr=quiet,
        )

    file = folder / "scheduler.json"
    started = [start("dask_scheduler", "--port", "0", "--scheduler-file", str(file))]
    while not file.exists() or not file.stat().st_size:
        time.sleep(0.05)
    address = json.loads(file.read_text())["address"]
    started += [start("dask_worker", address, "--nthreads", "1", "--no-nanny") for _ in range(count)]
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)
        # A worker imports the simulator with its first row; that is no part of the rate.
        client.run(lambda: __import__("ppdsim.sweep.row"))
    try:
        yield address
    finally:
        for process in reversed(started):
            process.kill()
        for process in started:
            process.wait()


def measure(seeds: int, rounds: int) -> tuple[int, Mapping[str, tuple[float, float]]]:
    """Return the rows of the sweep, and by where they were run the best time and its CPU [s]."""
    plan = make_plan("one-pair", parse_axes(GRID), seeds=seeds)
    best: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def timed(where: str, start: StartExecutor, at: Path | None = None) -> None:
            begin, cpu = time.perf_counter(), cpu_s()
            run_rows(plan, at or Path(tempfile.mkdtemp(dir=folder)), start)
            spent = time.perf_counter() - begin, cpu_s() - cpu
            best[where] = min(spent, best.get(where, spent))

        for _ in range(rounds):
            timed("no pool", no_pool)
            for count in WORKERS:
                timed(f"{count} process{'es' if count > 1 else ''}", local(count))
            if HAS_DASK:
                with dask_workers(WORKERS[-1], Path(tempfile.mkdtemp(dir=folder))) as address:
                    timed(f"dask, {WORKERS[-1]} workers", cluster(address))
        run_rows(plan, folder / "full", no_pool)
        timed("resumed", no_pool, folder / "full")
    return len(plan.points) * seeds, best


def show(rows: int, best: Mapping[str, tuple[float, float]]) -> None:
    """Print one line for each place."""
    print(f"{f'sweep, {rows} rows of one-pair':30}{'s':>9}{'rows/s':>10}{'times':>9}{'CPU s':>9}")
    for where, (spent, cpu) in best.items():
        shown = "-" if where.startswith("dask") else f"{cpu:.2f}"
        print(f"{where:<30}{spent:>9.2f}{rows / spent:>10.1f}{best['no pool'][0] / spent:>9.2f}{shown:>9}", flush=True)
    if not HAS_DASK:
        print("dask: not measured, because distributed is not installed; pip install 'ppdsim[cluster]'")
