"""How a sweep scales with processes and with dask workers on this machine, all in one run (docs/how-to/sweep.md).

    python benchmarks/sweep.py [ROWS]

The same rows each time, from an empty folder; the start of the processes is inside the time, that of the dask workers
is not. "no pool" calls the row's function in this process. Resumed: all rows are on disk. Each is the best of two
rounds. Rates depend on the machine and on what else it does; compare the ratios. CPU is that of this process and of the
processes it started and ended (not of dask's workers): on a busy machine it shows what the pool adds, where the time
does not.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from ppdsim.sweep.axes import parse_axes
from ppdsim.sweep.executors import StartExecutor, available_cores, cluster, local
from ppdsim.sweep.plan import make_plan
from ppdsim.sweep.run import run_rows

ROUNDS = 2
GRID = ("routing.policy=always-p,cost-aware", "workload.arrivals.rate_per_s=0.5,1,1.5,2")


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
        here = ("--host", "127.0.0.1", "--no-dashboard")
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


def main() -> None:
    seeds = max(1, (int(sys.argv[1]) if len(sys.argv) > 1 else 64) // 8)
    plan = make_plan("one-pair", parse_axes(GRID), seeds=seeds)
    cores = available_cores()
    counts = sorted({1, *(count for count in (2, 4, 8, 16) if count <= cores), cores})
    best: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def timed(where: str, start: StartExecutor, at: Path | None = None) -> None:
            begin, cpu = time.perf_counter(), cpu_s()
            run_rows(plan, at or Path(tempfile.mkdtemp(dir=folder)), start)
            spent = time.perf_counter() - begin, cpu_s() - cpu
            best[where] = min(spent, best.get(where, spent))

        for _ in range(ROUNDS):
            timed("no pool", no_pool)
            for count in counts:
                timed(f"{count} process{'es' if count > 1 else ''}", local(count))
            for count in counts:
                with dask_workers(count, Path(tempfile.mkdtemp(dir=folder))) as address:
                    timed(f"dask, {count} worker{'s' if count > 1 else ''}", cluster(address))
        run_rows(plan, folder / "full", no_pool)
        timed("resumed", no_pool, folder / "full")
    rows = len(plan.points) * seeds
    print(f"{rows} rows of one-pair, {cores} cores")
    print(f"{'where':<18}{'s':>8}{'rows/s':>9}{'times no pool':>15}{'CPU s':>8}")
    for where, (spent, cpu) in best.items():
        shown = "-" if where.startswith("dask") else f"{cpu:.2f}"
        print(f"{where:<18}{spent:>8.2f}{rows / spent:>9.1f}{best['no pool'][0] / spent:>15.2f}{shown:>8}")


if __name__ == "__main__":
    main()
