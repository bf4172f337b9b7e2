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
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from ppdsim import __version__, extras
from ppdsim.errors import EnvironmentProblem, InputError
from ppdsim.limits import JOBS

if TYPE_CHECKING:
    from distributed import Client

StartExecutor = Callable[[int], AbstractContextManager[Executor]]
"""Starts an executor for so many rows."""
CONNECT_TIMEOUT_S = 15.0
"""How long a scheduler, and then its first worker, is waited for [s]."""
LOST_TIMEOUT_S = 25.0
"""How long a cluster that has lost its last worker is given for another one [s]."""
LOOK_S = 1.0
"""Time between looks at a cluster's workers [s]."""
NEEDED = "ppdsim.sweep.row"
"""Module that a worker must be able to import."""
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
        On the start: if dask.distributed is not installed, nobody answers, the scheduler has no worker, or one of its
        workers lacks ppdsim. Later: if the scheduler or the last worker is lost, or a row ends several workers.
    """

    @contextmanager
    def start(rows: int) -> Iterator[Executor]:  # noqa: ARG001  (a `StartExecutor`)
        try:
            from distributed import Client
            from distributed.scheduler import KilledWorker
        except ImportError:
            raise extras.missing("distributed", by="--cluster") from None
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
            _check_workers(client, address)
            executor = client.get_executor(pure=False)
            stack.callback(executor.shutdown, wait=False)
            deserted = stack.enter_context(_watched(client, executor))
            try:
                yield executor
            except KilledWorker:
                raise EnvironmentProblem(
                    f"--cluster {address}: one row ended several workers, for lack of memory or of ppdsim perhaps; the "
                    "finished rows are kept"
                ) from None
            except CancelledError:
                if deserted.is_set():
                    raise EnvironmentProblem(
                        f"--cluster {address}: no worker is left, and none came in {LOST_TIMEOUT_S:.0f} s; the "
                        f"finished rows are kept: start workers with '{WORKER.format(address=address)}' and give the "
                        "same command"
                    ) from None
                raise EnvironmentProblem(
                    f"--cluster {address}: the scheduler is gone; the finished rows are kept: the same command goes on"
                ) from None

    return start


def _check_workers(client: Client, address: str) -> None:
    """Refuse a cluster of which a worker cannot run rows: one without ppdsim ends itself when it is given a row."""
    found = client.run(import_module, NEEDED, on_error="return")
    for worker, answer in sorted(found.items()):
        if isinstance(answer, BaseException):
            raise EnvironmentProblem(
                f"--cluster {address}: worker {worker} cannot run rows ({answer}); install there what is here: "
                f"pip install ppdsim=={__version__}"
            )


@contextmanager
def _watched(client: Client, executor: Executor) -> Iterator[threading.Event]:
    """Give up a cluster that stays without workers: its rows would wait without end. Yield whether it was given up."""
    deserted, ended = threading.Event(), threading.Event()

    def watch() -> None:
        empty_since_s: float | None = None
        while not ended.wait(LOOK_S):
            try:
                there = client.nthreads()
            except (OSError, ValueError, TimeoutError, asyncio.TimeoutError):
                return  # the scheduler is gone, which the rows say themselves
            now_s = time.monotonic()
            empty_since_s = None if there else now_s if empty_since_s is None else empty_since_s
            if empty_since_s is not None and now_s - empty_since_s >= LOST_TIMEOUT_S:
                deserted.set()
                executor.shutdown(wait=False)  # cancels what waits
                return

    thread = threading.Thread(target=watch, name="ppdsim-cluster", daemon=True)
    thread.start()
    try:
        yield deserted
    finally:
        ended.set()
        thread.join(timeout=CONNECT_TIMEOUT_S)


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
