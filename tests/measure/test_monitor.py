"""A run says of its machine what a reader has to know: throttling, foreign processes, how busy the host was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from measure.standins import FULL_TCP, MACHINE, UNIFIED, service
from virtual_loop import run_virtually

from ppdsim.card import card_of, to_text
from ppdsim.engines.sglang import transfer_engine as transfer
from ppdsim.machine import sampler
from ppdsim.machine.process_tree import MARK, carries_mark
from ppdsim.machine.sampler import AbstractSampler, MachineSampler, Sample, users_of
from ppdsim.measure.calibrate import fit, measure
from ppdsim.measure.monitor import MACHINE as LOOKS
from ppdsim.measure.monitor import Monitor
from ppdsim.measure.plan import load_plan
from ppdsim.measurements import read_manifest

GIB = 2**30
IDLE, POWER_CAP, HOT = 0x1, 0x4, 0x20


def user(pid, *, ours, name="python", memory_bytes=20 * GIB, shown=True):
    return {"pid": pid, "name": name, "memory_bytes": memory_bytes, "ours": ours, "shown": shown}


def gpu(throttle=0, sm_mhz=1980, users=()):
    return {"throttle": throttle, "sm_mhz": sm_mhz, "temperature_c": 61, "used_by": list(users)}


class Played(AbstractSampler):
    """Looks that were written down, the last one again and again."""

    def __init__(self, *gpus, busy_share=0.25):
        self._gpus = list(gpus)
        self._busy_share = busy_share

    def sample(self):
        found = self._gpus.pop(0) if len(self._gpus) > 1 else self._gpus[0]
        return Sample(unix_s=0.0, busy_share=self._busy_share, gpus=(found,))


def notes_of(tmp_path, *gpus):
    monitor = Monitor(tmp_path, Played(*gpus))
    for _ in gpus:
        monitor.look()
    return monitor.notes()


def test_throttling_is_named_with_its_reason(tmp_path):
    notes = notes_of(tmp_path, gpu(), gpu(IDLE), gpu(POWER_CAP, 1700), gpu(POWER_CAP | HOT, 1500))
    assert (
        "machine: GPU 0 THROTTLED in 2 of 4 looks (software power cap in 2, software thermal slowdown in 1)"
    ) in notes
    assert "machine: GPU 0 ran at 1500 to 1980 MHz, at most 61 C" in notes


def test_an_idle_gpu_does_not_throttle(tmp_path):
    assert not any("THROTTLED" in note for note in notes_of(tmp_path, gpu(IDLE), gpu(0)))


def test_a_reason_that_nvml_adds_later_is_shown_as_it_is(tmp_path):
    assert any("reason 0x1000 in 1" in note for note in notes_of(tmp_path, gpu(0x1000)))


def test_foreign_processes_are_named_and_the_servers_are_not(tmp_path):
    server = user(10, ours=True, name="sglang::scheduler")
    stranger = user(77, ours=False, name="train.py", memory_bytes=3 * GIB)
    hidden = user(5, ours=False, name="unknown", memory_bytes=None, shown=False)
    notes = notes_of(tmp_path, gpu(users=[server]), gpu(users=[server, stranger]), gpu(users=[server, hidden]))
    used = [note for note in notes if "used by" in note]
    assert used == [
        "machine: GPU 0 was used by process 77 (train.py, 3.0 GiB) in 1 of 3 looks",
        "machine: GPU 0 was used by process 5 (unknown, unknown memory) in 1 of 3 looks, in another container: the "
        "servers under test, or somebody else",
    ]


def test_a_process_that_is_ours_in_one_look_is_ours_in_all(tmp_path):
    begun = user(10, ours=False, name="unknown", memory_bytes=None)
    notes = notes_of(tmp_path, gpu(users=[begun]), gpu(users=[user(10, ours=True)]), gpu(users=[begun]))
    assert not any("used by" in note for note in notes)


def test_how_busy_the_host_was_is_kept(tmp_path):
    assert "machine: host cores were 25% busy on average, 25% at most" in notes_of(tmp_path, gpu())


def test_a_later_call_speaks_of_the_whole_run(tmp_path):
    notes_of(tmp_path, gpu(POWER_CAP), gpu(POWER_CAP))
    with (tmp_path / LOOKS).open("a") as file:
        file.write('{"unix_s": 1.0, "bu')
        file.write("\n")
    assert any("THROTTLED in 2 of 4 looks" in note for note in notes_of(tmp_path, gpu(), gpu()))


def test_what_is_printed_is_of_this_call_alone(tmp_path):
    notes_of(tmp_path, gpu(POWER_CAP, users=[user(77, ours=False)]), gpu(POWER_CAP))
    monitor = Monitor(tmp_path, Played(gpu()))
    monitor.look()
    assert any("THROTTLED in 2 of 3 looks" in note for note in monitor.notes())
    assert any("process 77" in note for note in monitor.notes())
    assert monitor.notes_of_call() == (
        "machine: host cores were 25% busy on average, 25% at most",
        "machine: GPU 0 ran at 1980 to 1980 MHz, at most 61 C",
    )


PLAN = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0, 1024, 4096], new_tokens: [64, 256, 1024, 2048]}
decode: {batch: [1, 2, 4], prompt_tokens: [256, 1024]}
stall: {batch: [2, 4], prompt_tokens: 256, turns: [[1024, 256], [0, 1024]]}
repeats: {least: 1, most: 1, half_width: 0.02}
"""


def test_a_run_that_throttled_says_so_in_words_manifest_and_card(tmp_path, monkeypatch):
    monkeypatch.setattr("ppdsim.measure.monitor.PERIOD_S", 1e-3)
    (tmp_path / "tiny.yaml").write_text(PLAN)
    lines = []
    stranger = user(77, ours=False, name="train.py")

    def run(*, resume):
        measure(
            load_plan(str(tmp_path / "tiny.yaml")),
            [service(*UNIFIED)],
            MACHINE,
            tmp_path / "run",
            resume=resume,
            show_line=lines.append,
            runner=run_virtually,
            sampler=Played(gpu(POWER_CAP, users=[stranger])),
        )

    run(resume=False)
    card = to_text(card_of(fit(tmp_path / "run", show_line=lines.append, draws=10)))
    for text in ("GPU 0 THROTTLED in ", "process 77 (train.py, 20.0 GiB)", "host cores were 25% busy"):
        assert any(text in line for line in lines)
        assert any(text in note for note in read_manifest(tmp_path / "run").notes)
        assert text in card


def test_a_later_call_replaces_the_sentences_of_an_earlier_one(tmp_path, monkeypatch):
    monkeypatch.setattr("ppdsim.measure.monitor.PERIOD_S", 1e-3)
    (tmp_path / "tiny.yaml").write_text(PLAN + "handoff: {cached_tokens: [0, 1024], new_tokens: [64, 256]}\n")
    for arm, resume in ((UNIFIED, False), (FULL_TCP, True)):
        measure(
            load_plan(str(tmp_path / "tiny.yaml")),
            [service(*arm)],
            MACHINE,
            tmp_path / "run",
            resume=resume,
            show_line=str,
            runner=run_virtually,
            sampler=Played(gpu(POWER_CAP)),
        )
    assert len([note for note in read_manifest(tmp_path / "run").notes if "THROTTLED" in note]) == 1


def test_a_process_of_a_started_server_is_known_by_its_mark():
    command = [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"]
    for environment, expected in (({MARK: "some-server"}, True), ({}, False)):
        clean = {name: value for name, value in os.environ.items() if name != MARK}
        with subprocess.Popen(
            command, env={**clean, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            child.stdout.readline()
            assert carries_mark(child.pid) is expected
            child.communicate()


def test_the_ends_of_a_link_that_is_measured_alone_are_ours(monkeypatch):
    popen = subprocess.Popen
    waiting = [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"]
    monkeypatch.setattr(transfer.subprocess, "Popen", lambda _, **options: popen(waiting, **options))
    worker = transfer._Worker("target", "tcp", 1, "cpu")
    try:
        # Only when it has begun is its environment in /proc.
        worker._process.stdout.readline()
        assert carries_mark(worker._process.pid)
    finally:
        worker.stop()


def test_an_end_of_a_link_is_ours_until_nvml_forgets_it(monkeypatch):
    """It is killed when its link is measured; NVML lists it for a moment more, without its environment."""
    command = [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"]
    monkeypatch.setattr(sampler, "open_gpus", lambda: ["gpu"])
    monkeypatch.setattr(sampler, "look", lambda gpu: {})
    listed = []
    monkeypatch.setattr(sampler, "users_of", lambda gpu: [(pid, "python", None) for pid in listed])

    def child(environment):
        clean = {name: value for name, value in os.environ.items() if name != MARK}
        found = subprocess.Popen(
            command, env={**clean, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=True
        )
        found.stdout.readline()
        return found

    with child({MARK: "transfer"}) as ours, child({MARK: "transfer"}) as late, child({}) as stranger:
        machine = MachineSampler(servers_were_there=False)

        def said():
            return {used["pid"]: used["ours"] for used in machine.sample().gpus[0]["used_by"]}

        listed += [ours.pid, stranger.pid]
        assert said() == {ours.pid: True, stranger.pid: False}
        ours.kill()
        late.kill()
        for process in (ours, late):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        # Both have ended and are not reaped: one was seen before, the other is seen now for the first time.
        listed.append(late.pid)
        assert said() == {ours.pid: True, stranger.pid: False}
        for process in (ours, late):
            process.wait()
        assert said()[ours.pid] is True
        stranger.communicate()


def test_a_process_that_nvml_does_not_name_has_the_name_of_its_command(require):
    require("python:pynvml")
    command = [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child,
        pytest.MonkeyPatch.context() as patch,
    ):
        child.stdout.readline()
        running = [SimpleNamespace(pid=child.pid, usedGpuMemory=None), SimpleNamespace(pid=2**31 - 1, usedGpuMemory=1)]
        patch.setattr("pynvml.nvmlDeviceGetComputeRunningProcesses", lambda _: running)
        assert users_of("gpu") == [(child.pid, Path(sys.executable).name, None), (2**31 - 1, "unknown", 1)]
        patch.setattr("pynvml.nvmlSystemGetProcessName", lambda _: b"sglang::scheduler TP0")
        assert users_of("gpu")[0][1] == "sglang::scheduler TP0"
        child.communicate()


@pytest.mark.parametrize("there", [True, False])
def test_without_a_gpu_the_cores_are_still_looked_at(there):
    sampler = MachineSampler(servers_were_there=there)
    sum(range(2_000_000))
    assert 0.0 <= (sampler.sample().busy_share or 0.0) <= 1.0
