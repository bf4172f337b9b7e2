"""``ppdsim calibrate`` on servers that it starts itself: stand-ins in the engine's place, the real router between."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from cli.test_calibrate import CONFIG
from cli.test_json import assert_described, assert_error
from engines.sglang.launcher.standins import PROGRAM, default_signals, left_over, nothing_left, ports
from machine.machines import H200

from ppdsim import measurements
from ppdsim.cli.app import run
from ppdsim.engines.sglang.standin.stack import FakeStack
from ppdsim.engines.stand_in import StackOptions
from ppdsim.machine.host import ThisMachine
from ppdsim.measure.estimate import DEFAULT
from ppdsim.measure.journal import read_rows
from ppdsim.types import Arm, Transport

PLAN = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0, 1024], new_tokens: [64, 1024]}
handoff: {cached_tokens: [0, 1024], new_tokens: [64]}
decode: {batch: [1, 4], prompt_tokens: [256]}
rates: [{total_tokens: [2048], cache_rate: [0.5], batch: [0, 2], prompt_tokens: 256}]
transfer: {size_bytes: [65536, 1048576], blocks: [1]}
repeats: {least: 2, most: 2, half_width: 0.5}
probe: {new_tokens: 64, every_s: 2.0}
"""


@pytest.fixture
def place(tmp_path: Path, require) -> Path:
    require("python:aiohttp")
    require("python:sglang_router")
    require("python:mooncake.engine")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


PAIR = {"prefill_gpus": [0], "decode_gpus": [0]}


def command(place: Path, held: dict[str, int], pair: Mapping[str, object] = PAIR) -> list[str]:
    settings = {
        "engine_program": [sys.executable, "-m", "ppdsim.engines.sglang.standin"],
        "router_program": [sys.executable, "-m", "sglang_router.launch_router"],
        "ports": held,
        **pair,
        "unified_gpus": [0],
        "max_total_tokens": 65_536,
        "stop_timeout_s": 1.0,
    }
    (place / "stack.yaml").write_text(json.dumps(settings))
    return [
        "calibrate",
        *("--model", str(place / "model"), "--dummy-weights", "--plan", str(place / "plan.yaml")),
        *("--settings", str(place / "stack.yaml"), "--measure-only", "-o", str(place / "out")),
        *(("--transport", "tcp") if pair else ()),
    ]


def test_each_arm_gets_servers_of_its_own_and_a_second_run_starts_none(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = ports()
    # Decoding takes the longest to measure, and who measures it is the same as for an append.
    (place / "plan.yaml").write_text("".join(line for line in PLAN.splitlines(True) if not line.startswith("decode")))
    assert run([*command(place, held), "--json"]) == 0
    assert nothing_left(place / "model", list(held.values()))
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert_described(document, "calibrate")
    assert (document["dry_run"], document["card"]) == (False, None), "--measure-only"
    # At the end: where the time went, the most first, and the files that were written.
    told = printed.err.splitlines()
    spent = [re.fullmatch(r" +(\d+\.\d) s  (.+)", line) for line in told]
    times = [(float(found[1]), found[2]) for found in spent if found is not None]
    assert {what for _, what in times} == {
        *("prefill", "interference", "transfer", "probes", "warm-up"),
        *("start of unified", "start of hand-offs over tcp"),
    }
    assert [seconds for seconds, _ in times] == sorted((seconds for seconds, _ in times), reverse=True)
    assert told[-2:] == [f"wrote {place}/out/points.jsonl", f"wrote {place}/out/manifest.json"]
    measured = measurements.read(place / "out")
    arms = {(row.arm, row.transport) for row in measured.prefill}
    assert arms == {
        (Arm.APPEND_D, Transport.NONE),
        (Arm.P_FULL, Transport.TCP),
        (Arm.P_DELTA, Transport.TCP),
    }
    assert {row.batch for row in measured.interference if row.purpose == "validation"} == {2}
    at_half = [r for r in measured.prefill if (r.cached_tokens, r.new_tokens) == (1024, 1024) and r.arm is Arm.P_DELTA]
    assert {row.purpose for row in at_half} == {"validation"}
    # Two passes, the last service of the first being the first of the second: three starts for two services.
    logs = sorted(path.name for path in (place / "out" / "servers").iterdir())
    assert logs == [
        "hand-offs-over-tcp-1",
        "unified-1",
        "unified-2",
    ]
    # Before any server was up, each cell in two rounds.
    assert [(row.memory, row.size_bytes) for row in sorted(measured.transfer, key=lambda row: row.size_bytes)] == [
        *[("host", 65_536)] * 2,
        *[("host", 1_048_576)] * 2,
    ]
    assert max(row.block for row in measured.transfer) < min(row.block for row in measured.prefill)
    notes = " ".join(measured.manifest.notes)
    assert "unified: unified-0 on GPU 0; no other server was up" in notes
    assert "MC_FORCE_TCP=1" in notes
    capsys.readouterr()
    assert run([*command(place, held), "--resume"]) == 0
    assert "0 rows added" in capsys.readouterr().err
    assert len(list((place / "out" / "servers").iterdir())) == len(logs)


def started_and_measuring(
    place: Path, held: dict[str, int], pair: Mapping[str, object] = PAIR, *, kind: str = "prefill"
) -> subprocess.Popen[bytes]:
    return measuring(place, command(place, held, pair), kind=kind)


def measuring(place: Path, arguments: list[str], *, kind: str = "prefill") -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ppdsim", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=default_signals,  # noqa: PLW1509
    )
    until_s = time.monotonic() + 30.0
    points = place / "out" / "points.jsonl"
    while not (points.exists() and f'"kind":"{kind}"' in points.read_text()):
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < until_s
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_keeps_its_rows_and_leaves_no_server(place: Path, number: int) -> None:
    held = ports()
    process = measuring(place, [*command(place, held), "--json"])
    process.send_signal(number)
    printed, errors = process.communicate(timeout=30.0)
    assert process.returncode == 130, errors.decode()
    assert b"Traceback" not in errors
    assert_error(printed.decode(), "Interrupted", 130)
    assert nothing_left(place / "model", list(held.values()))
    assert len(measurements.read(place / "out").prefill) > 0
    *_, told, unified, pair, points, manifest, last = errors.decode().splitlines()
    assert re.fullmatch(rf"\d+ rows? in {place / 'out'}; to go on: the same command with --resume", told)
    assert re.fullmatch(r"  unified: \d of 7 cells have no row yet, about \d+ s(; \d may need .*)?", unified)
    assert re.fullmatch(r"  hand-offs over tcp: 8 of 8 cells have no row yet, about \d+ s", pair)
    assert (points, manifest) == (f"wrote {place}/out/points.jsonl", f"wrote {place}/out/manifest.json")
    assert last == "error: interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_on_servers_that_it_joined_it_ends_the_same_way_and_leaves_them(place: Path, number: int) -> None:
    with FakeStack(StackOptions(mode="unified", port_base=0, profile=DEFAULT)) as stack:
        url = stack.urls["unified"]
        arguments = ["calibrate", "--model", str(place / "model"), "--unified-url", url, "-o", str(place / "out")]
        process = measuring(place, [*arguments, "--plan", "full", "--dummy-weights"])
        process.send_signal(number)
        _, errors = process.communicate(timeout=30.0)
        assert process.returncode == 130, errors.decode()
        assert b"Traceback" not in errors
        assert not stack.ended()
        rows = len(read_rows(place / "out"))
        assert re.search(
            rf"\b{rows} rows? in {place / 'out'}; to go on: the same command with --resume", errors.decode()
        )
        assert re.search(r"  unified: \d+ of \d+ cells have no row yet, about \S+ minutes", errors.decode())
        assert measurements.read(place / "out").manifest.id == "out"
        # The journal alone decides where it goes on.
        assert (
            run([*arguments, "--plan", str(place / "plan.yaml"), "--dummy-weights", "--measure-only", "--resume"]) == 0
        )
        assert len(read_rows(place / "out")) > rows


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_a_server_starts_it_leaves_none_and_wrote_nothing(place: Path, number: int) -> None:
    held = ports()
    (place / "plan.yaml").write_text(PLAN.replace("transfer: {size_bytes: [65536, 1048576], blocks: [1]}\n", ""))
    hanging = shlex.join([*PROGRAM, "--standin", "hang-start"])
    process = subprocess.Popen(
        [sys.executable, "-m", "ppdsim", *command(place, held), "--set", f"engine_program={hanging}"],
        stderr=subprocess.PIPE,
        preexec_fn=default_signals,  # noqa: PLW1509
    )
    log = place / "out" / "servers" / "unified-1" / "unified-0.log"
    until_s = time.monotonic() + 30.0
    while not (log.exists() and "loading weights" in log.read_text()):
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < until_s
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30.0)
    assert process.returncode == 130, errors.decode()
    assert b"Traceback" not in errors
    assert errors.decode().splitlines()[-1] == "error: interrupted"
    assert nothing_left(place / "model", list(held.values()))
    assert not (place / "out" / "points.jsonl").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_a_link_is_measured_alone_it_leaves_no_worker(place: Path, number: int) -> None:
    sizes = ", ".join(str(67_108_864 // 2**power) for power in range(6))
    (place / "plan.yaml").write_text(f"{PLAN}seed: 7\n".replace("[65536, 1048576]", f"[{sizes}]"))
    process = started_and_measuring(place, ports(), kind="transfer")
    process.send_signal(number)
    _, errors = process.communicate(timeout=30.0)
    assert process.returncode == 130, errors.decode()
    assert b"Traceback" not in errors
    assert {type(row).__name__ for row in read_rows(place / "out")} == {"TransferRow"}
    assert not (place / "out" / "servers").exists()


def test_a_server_that_dies_is_started_again_once(place: Path) -> None:
    held = ports()
    process = started_and_measuring(place, held, {})
    for pid in left_over(place / "model"):
        if pid != process.pid:
            os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60.0)
    assert process.returncode == 0, errors.decode()
    assert b"ended with signal SIGKILL" in errors
    assert b"starting it again, once" in errors
    assert nothing_left(place / "model", list(held.values()))


def test_a_server_that_cannot_start_is_exit_code_3(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*command(place, ports()), "--set", "engine_program=/no/such/program", "-q"]
    assert run(arguments) == 3
    assert "unified-0: /no/such/program: No such file" in capsys.readouterr().err
    assert not (place / "out" / "manifest.json").exists()


def test_the_plan_says_what_is_started(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command(place, ports()), "--transport", "tcp,nvlink", "--dry-run"]) == 0
    printed = capsys.readouterr().err
    for name in ("unified", "hand-offs over tcp", "hand-offs over nvlink", "transfer alone over tcp, host memory"):
        assert f"  {name}: " in printed
    assert "transfer alone over nvlink, host memory: left out, NVLink carries GPU memory only" in printed
    assert "of the pool's 65536 (as max_total_tokens sets it); requests have up to 49152 tokens" in printed
    assert "5 starts of servers" in printed


def test_without_a_transport_every_link_of_the_machine_is_measured(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two = {"prefill_gpus": [0], "decode_gpus": [1]}
    monkeypatch.setattr(ThisMachine, "nvlink_lanes", lambda self: {(0, 1): 18})
    monkeypatch.setattr("ppdsim.engines.sglang.doctor.transfer.has_in_node_mode", lambda machine: True)
    monkeypatch.setattr(ThisMachine, "listing", lambda self, folder: ())
    arguments = command(place, ports(), two)
    given = arguments.index("--transport")
    without = [*arguments[:given], *arguments[given + 2 :], "--dry-run"]
    assert run(without) == 0
    printed = capsys.readouterr().err
    assert "links: nvlink, tcp (all that this machine has between P and D; --transport LIST chooses others)" in printed
    assert printed.index("  hand-offs over nvlink: ") < printed.index("  hand-offs over tcp: ")
    assert run([*without, "--set", "transport=tcp"]) == 0
    printed = capsys.readouterr().err
    assert "links: tcp (the settings choose; --transport LIST chooses others)" in printed
    assert "nvlink" not in printed


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        (2, ["  unified: ", "  hand-offs over tcp: ", "3 starts of servers"]),
        (1, ["one GPU: a unified server only; for hand-offs on it, see docs/how-to/calibrate.md", "  unified: "]),
    ],
)
def test_without_a_list_of_gpus_it_takes_the_first_ones(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cards: int, said: list[str]
) -> None:
    monkeypatch.setattr(ThisMachine, "gpus", lambda self: (H200,) * cards)
    monkeypatch.setattr(ThisMachine, "nvlink_lanes", lambda self: {})
    monkeypatch.setattr(ThisMachine, "listing", lambda self, folder: ())
    arguments = ["calibrate", "--model", str(place / "model"), "--dummy-weights", "--plan", str(place / "plan.yaml")]
    assert run([*arguments, "-o", str(place / "out"), "--dry-run"]) == 0
    printed = capsys.readouterr().err
    for part in said:
        assert part in printed
    assert ("hand-offs over" in printed) is (cards > 1)


def test_a_link_that_the_machine_has_not_is_refused_before_anything_is_started(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ThisMachine, "gpus", lambda self: (H200,) * 2)
    monkeypatch.setattr(ThisMachine, "listing", lambda self, folder: ())
    arguments = command(place, ports(), {"prefill_gpus": [0], "decode_gpus": [1]})
    arguments[arguments.index("--transport") + 1] = "rdma"
    assert run([*arguments, "--dry-run"]) == 3
    assert "--transport rdma: this host has no RDMA device" in capsys.readouterr().err


def test_full_hand_offs_under_load_have_a_decode_server_without_a_cache(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = (
        "schema: ppdsim/plan/1\n"
        "name: loads\n"
        "append: {cached_tokens: [0], new_tokens: [64]}\n"
        "handoff: {cached_tokens: [0], new_tokens: [64]}\n"
        "repeats: {least: 1, most: 1, half_width: 0.5}\n"
        "passes: 1\n"
        "load: [{name: few, rate_per_s: 50.0, conversations: 2, arms: [p-full:tcp, p-delta:tcp]}]\n"
        "chat: {kind: generated, conversations: 1, arrivals: {kind: poisson, rate_per_s: 1.0}, turns_mean: 2,\n"
        "  first_turn_new_tokens: {kind: constant, value_tokens: 200},\n"
        "  later_turn_new_tokens: {kind: constant, value_tokens: 100},\n"
        "  output_tokens: {kind: constant, value_tokens: 8}, think_time: {kind: constant, value_s: 0.1}}\n"
    )
    (place / "plan.yaml").write_text(plan)
    held = ports()
    assert run(command(place, held)) == 0
    assert "3 starts of servers" in capsys.readouterr().err
    logs = sorted(path.name for path in (place / "out" / "servers").iterdir())
    assert logs == ["hand-offs-over-tcp-1", "p-full-loads-over-tcp-1", "unified-1"]
    rows = measurements.read(place / "out").load
    assert {row.arm for row in rows} == {Arm.P_FULL, Arm.P_DELTA}
    assert {row.cached_tokens > 0 for row in rows if row.turn} == {True}


def test_without_a_client_no_server_is_started(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert run([*command(place, ports()), "-q"]) == 3
    assert (
        "aiohttp is not installed, and the client of the servers needs it: pip install 'ppdsim[live]'"
        in capsys.readouterr().err
    )
    assert not (place / "out" / "servers").exists()


def test_a_run_goes_on_only_with_the_flags_it_began_with(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = ports()
    alone = [*command(place, held, {}), "-q"]
    assert run(alone) == 0
    rows = (place / "out" / "points.jsonl").read_bytes()
    capsys.readouterr()
    (place / "plan.yaml").write_text(PLAN.replace("new_tokens: [64, 1024]", "new_tokens: [64, 128, 1024]"))
    assert run([*alone, "--resume", "--set", "engine_flags=--kv-cache-dtype fp8_e5m2"]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert "unified: kv_cache_dtype not given, now fp8_e5m2; start them as before" in errors[-1]
    assert (place / "out" / "points.jsonl").read_bytes() == rows
    assert nothing_left(place / "model", list(held.values()))
    assert run([*alone, "--resume"]) == 0
    assert len((place / "out" / "points.jsonl").read_bytes()) > len(rows)
