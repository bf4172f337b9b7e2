"""Where rows are computed: processes of this machine, or the workers of a dask scheduler, behind one interface.

Both are a ``concurrent.futures.Executor`` that ends what it started when its block is left by an error or Ctrl-C. A
lost process breaks the local pool, because nobody knows what it was doing (out of memory, as a rule); dask gives the
rows of a lost worker to another one.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager

from ppdsim.errors import EnvironmentProblem, InputError
from ppdsim.limits import JOBS

StartExecutor = Callable[[int], AbstractContextManager[Executor]]
"""Starts an executor for so many rows."""
CONNECT_TIMEOUT_S = 15.0
"""How long a scheduler, and then its first worker, is waited for [s]."""
WORKER = "dask worker {address} --nthreads 1"
"""How a worker is started: a simulation holds Python's lock, so threads of one worker gain nothing."""


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def local(jobs: int | None = None) -> StartExecutor:
    """Return what starts a pool of `jobs` processes on this machine, by default one a core.

    Raises
    ------
    InputError
        If `jobs` is below 1.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs {jobs}: expected at least 1")
    if jobs is not None:
        JOBS.check(jobs, "--jobs")

    @contextmanager
    def start(rows: int) -> Iterator[Executor]:
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(
            max_workers=min(jobs or available_cores(), rows),
            # A fork of a process with threads may hang; a fresh process cannot.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
        )
        try:
            yield pool
        except BrokenProcessPool:
            raise EnvironmentProblem(
                "a worker process ended abruptly, for lack of memory perhaps; the finished rows are kept: the same "
                "command goes on from there, with fewer --jobs"
            ) from None
        except BaseException:
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    return start


def cluster(address: str) -> StartExecutor:
    """Return what connects to a dask scheduler, such as ``tcp://10.0.0.1:8786``.

    Raises
    ------
    EnvironmentProblem
        On the start: if dask.distributed is not installed, nobody answers, or the scheduler has no worker.
    """

    @contextmanager
    def start(rows: int) -> Iterator[Executor]:  # noqa: ARG001  (a `StartExecutor`)
        try:
            from distributed import Client
            from distributed.scheduler import KilledWorker
        except ImportError:
            raise EnvironmentProblem(
                "--cluster needs dask.distributed, which is not installed; pip install 'ppdsim[cluster]'"
            ) from None
        with ExitStack() as stack:
            stack.enter_context(_silenced("distributed.client"))
            try:
                client = Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
            except (OSError, ValueError) as problem:
                raise EnvironmentProblem(
                    f"--cluster {address}: no dask scheduler answers ({problem}); start one with "
                    f"'dask scheduler --host ADDRESS', and workers with '{WORKER.format(address='ADDRESS')}'"
                ) from None
            stack.callback(client.close)
            try:
                client.wait_for_workers(1, timeout=CONNECT_TIMEOUT_S)
            except asyncio.TimeoutError:
                raise EnvironmentProblem(
                    f"--cluster {address}: the scheduler has no worker; start some with "
                    f"'{WORKER.format(address=address)}'"
                ) from None
            executor = client.get_executor(pure=False)
            stack.callback(executor.shutdown, wait=False)
            try:
                yield executor
            except KilledWorker:
                raise EnvironmentProblem(
                    f"--cluster {address}: one row ended several workers, for lack of memory perhaps; the finished "
                    "rows are kept"
                ) from None
            except CancelledError:
                raise EnvironmentProblem(
                    f"--cluster {address}: the scheduler is gone; the finished rows are kept: the same command goes on"
                ) from None

    return start


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    """Keep a logger quiet: what dask logs of a lost scheduler by the page is one line of error here."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, which ends its workers itself, and end with a parent that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.join,), daemon=True).start()


def _end_with(wait: Callable[[], None]) -> None:
    wait()
    os._exit(1)
