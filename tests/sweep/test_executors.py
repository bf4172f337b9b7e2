"""Rows survive lost workers: a local pool says so and goes on later, a dask cluster gives them to another worker."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import pytest
from sweep.cases import plan, threads

from ppdsim.errors import EnvironmentProblem, InputError
from ppdsim.sweep.executors import cluster, local
from ppdsim.sweep.run import Interrupted, run_rows

QUIET = {**os.environ, "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "error"}


@pytest.fixture(scope="module")
def made():
    return plan(seeds=4)


@pytest.fixture(scope="module")
def expected(made, tmp_path_factory):
    return run_rows(made, tmp_path_factory.mktemp("expected"), threads)


def no_worker_is_left() -> bool:
    return not multiprocessing.active_children()


def test_processes_give_the_rows_that_one_thread_gives(made, expected, tmp_path) -> None:
    assert run_rows(made, tmp_path, local(2)) == expected
    assert no_worker_is_left()


def test_a_lost_process_is_said_and_its_rows_are_left_for_the_next_run(made, expected, tmp_path) -> None:
    def kill_one(done: int, total: int) -> None:
        if done == 2:
            multiprocessing.active_children()[0].kill()

    with pytest.raises(EnvironmentProblem, match="worker process ended abruptly.*finished rows are kept"):
        run_rows(made, tmp_path, local(1), kill_one)
    kept = len(list((tmp_path / "rows").iterdir()))
    assert 2 <= kept < len(expected)
    assert no_worker_is_left()
    assert run_rows(made, tmp_path, local(1)) == expected


def test_ctrl_c_ends_the_processes(made, tmp_path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        run_rows(made, tmp_path, local(2), stop)
    assert no_worker_is_left()


def test_ctrl_c_keeps_the_rows_that_ended_while_nobody_looked(made, expected, tmp_path) -> None:
    """And it is one interruption, however many rows have ended by then."""

    class Waiting(ThreadPoolExecutor):
        def submit(self, *work):
            future = super().submit(*work)
            wait([future])
            return future

    @contextmanager
    def ended_before_anybody_looks(rows: int):
        with Waiting(1) as pool:
            yield pool

    told = []

    def stop(done: int, total: int) -> None:
        told.append(done)
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        run_rows(made, tmp_path, ended_before_anybody_looks, stop)
    assert told == [1]
    assert caught.value.rows == expected


def test_jobs_below_one_are_refused() -> None:
    with pytest.raises(InputError, match="--jobs 0"):
        local(0)


@pytest.fixture
def dask(require, tmp_path):
    """Start a scheduler and two worker processes; yield its address, the workers and the scheduler."""
    require("python:distributed")
    started = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", *arguments]
        log = (tmp_path / f"{len(started)}.log").open("wb")
        with log:
            process = subprocess.Popen(command, env=QUIET, stdout=log, stderr=log, cwd=tmp_path)
        started.append(process)
        return process

    file = tmp_path / "scheduler.json"
    # Without a dashboard there is still an HTTP port, which has an address of its own.
    here = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")
    start("distributed.cli.dask_scheduler", *here, "--port", "0", "--scheduler-file", str(file))
    until(lambda: file.exists() and file.stat().st_size > 0)
    import json

    address = json.loads(file.read_text())["address"]
    worker = ("distributed.cli.dask_worker", address, *here, "--nthreads", "1", "--no-nanny")
    yield address, [start(*worker), start(*worker)], started[0]
    for process in reversed(started):
        process.kill()
    for process in started:
        process.wait(20)


def until(true, seconds: float = 30.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_cluster_that_loses_a_worker_in_mid_sweep_gives_all_rows(dask, made, expected, tmp_path) -> None:
    from distributed import Client

    address, workers, _ = dask
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)
    seen = []

    def kill_one(done: int, total: int) -> None:
        seen.append(done)
        if done == 3:
            workers[0].send_signal(signal.SIGKILL)
            assert workers[0].wait(10) == -signal.SIGKILL

    assert run_rows(made, tmp_path / "out", cluster(address), kill_one) == expected
    assert seen[-1] == len(expected) == 24
    assert workers[1].poll() is None
    with Client(address, set_as_default=False) as client:
        until(lambda: len(client.scheduler_info()["workers"]) == 1)


def test_a_lost_scheduler_is_said_and_the_rows_are_kept(dask, made, expected, tmp_path) -> None:
    address, _, scheduler = dask

    def kill_it(done: int, total: int) -> None:
        if done == 2:
            scheduler.kill()

    with pytest.raises(EnvironmentProblem, match="the scheduler is gone; the finished rows are kept"):
        run_rows(made, tmp_path, cluster(address), kill_it)
    assert 2 <= len(list((tmp_path / "rows").iterdir())) < len(expected)
    assert run_rows(made, tmp_path, threads) == expected


def test_a_scheduler_without_workers_is_said(dask, made, tmp_path, monkeypatch) -> None:
    address, workers, _ = dask
    for worker in workers:
        worker.kill()
        worker.wait(10)
    monkeypatch.setattr("ppdsim.sweep.executors.CONNECT_TIMEOUT_S", 2.0)
    with pytest.raises(EnvironmentProblem, match=f"the scheduler has no worker.*dask worker {address} --nthreads 1"):
        run_rows(made, tmp_path, cluster(address))


def test_a_worker_without_ppdsim_is_said_before_a_row_is_given_to_it(dask, made, tmp_path, monkeypatch) -> None:
    """Both can import what the test imports; what neither has is asked for in ppdsim's place."""
    address, _, _ = dask
    monkeypatch.setattr("ppdsim.sweep.executors.NEEDED", "ppdsim_of_no_machine")
    message = r"worker tcp://127.0.0.1:\d+ cannot run rows \(No module named 'ppdsim_of_no_machine'\); .*pip install"
    with pytest.raises(EnvironmentProblem, match=message):
        run_rows(made, tmp_path, cluster(address))
    assert not (tmp_path / "rows").exists()


def test_a_cluster_that_has_lost_its_last_worker_is_said(dask, made, expected, tmp_path, monkeypatch) -> None:
    address, workers, _ = dask
    monkeypatch.setattr("ppdsim.sweep.executors.LOST_TIMEOUT_S", 0.5)
    monkeypatch.setattr("ppdsim.sweep.executors.LOOK_S", 0.1)

    def kill_all(done: int, total: int) -> None:
        if done == 2:
            for worker in workers:
                worker.kill()
                worker.wait(10)

    with pytest.raises(EnvironmentProblem, match="no worker is left, and none came in 0 s; the finished rows are kept"):
        run_rows(made, tmp_path, cluster(address), kill_all)
    assert 2 <= len(list((tmp_path / "rows").iterdir())) < len(expected)


def test_without_dask_the_command_to_install_it_is_named(made, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'ppdsim\[cluster\]'"):
        run_rows(made, tmp_path, cluster("tcp://127.0.0.1:1"))


def test_a_cluster_that_is_not_there_is_said(made, tmp_path, require, monkeypatch) -> None:
    require("python:distributed")
    monkeypatch.setattr("ppdsim.sweep.executors.CONNECT_TIMEOUT_S", 0.5)
    for address, message in (("tcp://127.0.0.1:1", "no dask scheduler answers"), ("nonsense://x", "no dask scheduler")):
        with pytest.raises(EnvironmentProblem, match=message):
            run_rows(made, tmp_path, cluster(address))
