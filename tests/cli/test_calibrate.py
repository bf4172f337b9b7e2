"""``ppdsim calibrate`` from end to end on stand-in servers: real HTTP, the real router, a profile and a report."""

from __future__ import annotations

import json
import os
import re
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from io import BytesIO, TextIOWrapper

import pytest
from cli.test_json import assert_described, assert_error, assert_file_described
from measure.standins import MACHINE, service
from virtual_loop import run_virtually

from ppdsim import measurements, profile, scenario
from ppdsim.cli.app import run
from ppdsim.engines.sglang.standin.stack import FakeStack
from ppdsim.engines.stand_in import DEFAULT_PROFILE, StackOptions
from ppdsim.measure import calibrate
from ppdsim.measure.plan import load_plan
from ppdsim.types import Arm, Transport

PLAN = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0, 1024, 4096], new_tokens: [64, 256, 1024, 2048]}
handoff: {cached_tokens: [0, 1024], new_tokens: [64, 256, 1024]}
decode: {batch: [1, 4], prompt_tokens: [256, 1024]}
stall: {batch: [2, 4], prompt_tokens: 256, turns: [[1024, 256], [0, 1024]]}
handoff_stall: {batch: [2], prompt_tokens: 256, turns: [[1024, 256]]}
validation: {prefill: [[1024, 150]]}
load: [{name: light, rate_per_s: 20.0, conversations: 4}]
chat:
  kind: generated
  conversations: 1
  arrivals: {kind: poisson, rate_per_s: 1.0}
  turns_mean: 2
  first_turn_new_tokens: {kind: constant, value_tokens: 300}
  later_turn_new_tokens: {kind: constant, value_tokens: 100}
  output_tokens: {kind: constant, value_tokens: 8}
  think_time: {kind: exponential, mean_s: 0.1}
transfer: {size_bytes: [65536, 1048576, 4194304], blocks: [1, 16]}
repeats: {least: 1, most: 1, half_width: 0.5}
probe: {new_tokens: 64, every_s: 2.0}
"""
SMALL = (
    "crossover.total_tokens=[2048]",
    "crossover.cache_rates=[0.3, 0.7]",
    "crossover.fixed_cached_tokens=[1024]",
    "crossover.previous_output_tokens=[0]",
    "crossover.turns=5",
    "crossover.draws=2",
)
"""The report's question, small: a page of every kind of figure from few simulated turns."""
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "dtype": "bfloat16",
    "vocab_size": 128256,
}


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory, require):
    """Calibrate a unified stand-in, and a pair behind the real router, into one folder."""
    require("python:aiohttp")
    require("python:sglang_router")
    require("python:mooncake.engine")
    path = tmp_path_factory.mktemp("calibrate")
    (path / "model").mkdir()
    (path / "model" / "config.json").write_text(json.dumps(CONFIG))
    (path / "tiny.yaml").write_text(PLAN)
    common = [
        "--model",
        str(path / "model"),
        "--dummy-weights",
        "--plan",
        str(path / "tiny.yaml"),
        "--name",
        "stand-in",
    ]
    one = StackOptions(profile=DEFAULT_PROFILE, mode="unified", router="none", port_base=0)
    pair = StackOptions(profile=DEFAULT_PROFILE, mode="pd", router="real", port_base=0, transport=Transport.TCP)
    with FakeStack(one) as unified, FakeStack(pair) as disaggregated, pytest.MonkeyPatch.context() as patch:
        # How good the intervals are and what the simulation finds have tests of their own; both take half a minute.
        patch.setattr(calibrate, "fit", partial(calibrate.fit, draws=10))
        patch.setattr(scenario, "load", lambda name, sets, load=scenario.load: load(name, [*sets, *SMALL]))
        urls = disaggregated.urls
        servers = ["--unified-url", unified.urls["unified"], "--router-url", urls["router"]]
        servers += ["--prefill-url", urls["prefill"], "--decode-url", urls["decode"], "--transport", "tcp"]
        command = ["calibrate", *common, *servers, "-o", str(path / "out"), "-q"]
        with redirect_stdout(TextIOWrapper(BytesIO(), encoding="utf-8")) as printed:
            assert run([*command, "--json"]) == 0
        (path / "printed.json").write_bytes(printed.buffer.getvalue())
        rows = (path / "out" / "points.jsonl").read_bytes()
        assert run([*command, "--resume", "--measure-only"]) == 0
        assert (path / "out" / "points.jsonl").read_bytes() == rows
        assert run([*command, "--measure-only"]) == 2
    return path / "out"


def test_every_kind_was_measured_through_the_router(calibrated):
    measured = measurements.read(calibrated)
    assert not measured.refused
    assert {(row.arm, row.transport) for row in measured.prefill} == {
        (Arm.APPEND_D, Transport.NONE),
        (Arm.P_FULL, Transport.TCP),
    }
    assert {row.arm for row in measured.interference} == {Arm.APPEND_D, Arm.P_FULL}
    assert len({row.cell for row in measured.decode}) == 4
    turns = [row for row in measured.load if row.arm is Arm.APPEND_D]
    # The answers are part of the next prompt, so a later turn finds its conversation cached.
    assert any(row.turn > 0 and row.cached_tokens >= 256 for row in turns)
    assert all(row.purpose == "validation" for row in measured.load)
    assert {row.purpose for row in measured.prefill} == {"fit", "validation", "probe"}


def test_it_leaves_a_profile_a_card_and_a_report(calibrated):
    names = {path.name for path in calibrated.iterdir()}
    assert names >= {"points.jsonl", "manifest.json", "profile.json", "card.txt", "report.html", "machine.jsonl"}
    fitted = profile.load(calibrated / "profile.json")
    assert fitted.id == "stand-in"
    assert fitted.curve("handoff", Arm.P_FULL, Transport.TCP).cells == 6
    assert "stand-in" in (calibrated / "card.txt").read_text()
    assert "p-full over tcp" in (calibrated / "report.html").read_text()
    accuracy = (calibrated / "accuracy.txt").read_text()
    assert re.search(r"append-d +held-out cells +1 ", accuracy), "the one held-out prefill"
    assert "light, append-d" in accuracy
    # Sockets and two busy cores add milliseconds; the profile is recognisable all the same.
    token_s = next(p.value for p in fitted.curve("prefill").parameters if p.name == "token_s")
    assert 1e-5 < token_s < 6e-5


def test_what_it_prints_is_one_document_of_its_schema(calibrated):
    printed = json.loads((calibrated.parent / "printed.json").read_text())
    assert_described(printed, "calibrate")
    assert not printed["dry_run"]
    assert any("cells, about" in line for line in printed["plan"])
    assert printed["card"]["id"] == "stand-in"
    names = ["points.jsonl", "manifest.json", "profile.json", "card.txt", "accuracy.txt", "report.html"]
    assert printed["files"] == [str(calibrated / name) for name in names]
    for name in ("manifest.json", "profile.json"):
        assert_file_described(calibrated / name)


def test_the_link_was_measured_alone_and_stands_beside_the_hand_offs(calibrated):
    rows = measurements.read(calibrated).transfer
    assert {(row.transport, row.memory) for row in rows} == {(Transport.TCP, "host")}
    assert len({row.cell for row in rows}) == 6
    notes = profile.load(calibrated / "profile.json").notes
    (note,) = [note for note in notes if note.startswith("the link alone over tcp, host memory (6 cells")]
    assert "us in p-full:tcp" in note


SHORT_PLAN = """\
schema: ppdsim/plan/1
name: short
append: {cached_tokens: [0, 4096, 16384], new_tokens: [64, 8192]}
handoff: {cached_tokens: [4096, 16384], new_tokens: [64, 4096]}
decode: {batch: [1, 2], prompt_tokens: [256, 8192]}
stall: {batch: [2], prompt_tokens: 256, turns: [[8192, 64]]}
handoff_stall: {batch: [2], prompt_tokens: 256, turns: [[8192, 64]]}
validation: {prefill: [[1024, 150], [8192, 150]], decode: [[3, 4096]], stall: [[2, 256, 8192, 60]]}
rates: [{total_tokens: [2048, 8192], cache_rate: [0.5], batch: [0, 2], prompt_tokens: 256}]
load: [{name: light, rate_per_s: 20.0, conversations: 6}]
chat:
  kind: generated
  conversations: 1
  arrivals: {kind: poisson, rate_per_s: 1.0}
  turns_mean: 4
  first_turn_new_tokens: {kind: constant, value_tokens: 1500}
  later_turn_new_tokens: {kind: constant, value_tokens: 1500}
  output_tokens: {kind: constant, value_tokens: 4}
  think_time: {kind: constant, value_s: 0.01}
repeats: {least: 1, most: 1}
probe: {new_tokens: 64, handoff_tokens: 4096, every_s: 0.5}
"""


def test_a_unified_server_alone_has_a_profile_and_a_card_but_no_report(tmp_path, capsys, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tiny.yaml").write_text(PLAN)
    one = replace(service(Arm.APPEND_D, Transport.NONE), name="unified")
    plan = load_plan(str(tmp_path / "tiny.yaml"))
    calibrate.measure(plan, [one], MACHINE, tmp_path / "out", resume=False, show_line=str, runner=run_virtually)
    monkeypatch.setattr(calibrate, "fit", partial(calibrate.fit, draws=10))
    # Everything is measured, so nobody is asked.
    arguments = ["--unified-url", "http://127.0.0.1:1", "--plan", str(tmp_path / "tiny.yaml"), "--resume"]
    again = ["calibrate", "--model", str(tmp_path), "-o", str(tmp_path / "out"), *arguments]

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(calibrate, "fit", interrupted)
        assert run(again) == 130
    assert capsys.readouterr().err.endswith(
        "what the plan asks is measured; to fit it: the same command with --resume\nerror: interrupted\n"
    )
    assert run(again) == 0
    told = capsys.readouterr().err
    assert "0 rows added" in told
    assert "no report: no hand-off was measured, so there is nothing to compare an append with" in told
    assert not (tmp_path / "out" / "report.html").exists()
    assert told.splitlines()[-1] == f"wrote {tmp_path}/out/accuracy.txt"
    assert profile.load(tmp_path / "out" / "profile.json").curve("prefill").cells


def test_on_a_short_context_every_kind_of_cell_is_clipped_and_the_plan_says_so(tmp_path, capsys, require):
    require("python:aiohttp")
    require("python:sglang_router")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "short.yaml").write_text(SHORT_PLAN)
    options = {"profile": DEFAULT_PROFILE, "port_base": 0, "arguments": ("--context-length", "4096")}
    one = StackOptions(mode="unified", router="none", **options)
    pair = StackOptions(mode="pd", router="real", transport=Transport.TCP, decode_radix=True, **options)
    with FakeStack(one) as unified, FakeStack(pair) as disaggregated:
        urls = disaggregated.urls
        servers = ["--unified-url", unified.urls["unified"], "--router-url", urls["router"], "--decode-radix"]
        servers += ["--prefill-url", urls["prefill"], "--decode-url", urls["decode"]]
        command = ["calibrate", "--model", str(tmp_path), "--plan", str(tmp_path / "short.yaml"), *servers]
        assert run([*command, "-o", str(tmp_path / "out"), "--measure-only"]) == 0
    printed = capsys.readouterr().err
    assert "taken to hand over by tcp" in printed
    assert "of the pool's 160000 (stated by the servers); requests have up to 4096 tokens" in printed
    plan = printed[: printed.index("in all about")]
    for line in (
        "6 prefill cells left out, the longest is 4096 (such as fit/prefill/append-d/0/8192: 8256 tokens with its",
        "1 prefill cell moved to fewer cached tokens, the longest is 4096 (such as fit/prefill/append-d/4096/64 at",
        "1 interference cell moved to fewer cached tokens, the longest is 4096 (such as fit/interference/append-d",
        "2 interference cells left out, the longest is 4096 (such as validation/interference/append-d/2/256/8192/60",
        "3 decode cells left out, the longest is 4096 (such as fit/decode/1/8192: 8416 tokens with its answer)",
        "2 interference cells moved to fewer cached tokens, the longest is 4096 (such as fit/interference/p-delta:tcp",
        "validation/load/append-d/light: 7 of 17 turns left out, conversations end at 4032 tokens",
    ):
        assert line in plan, line
    # Nothing was asked that the servers refuse.
    assert not (tmp_path / "out" / "skipped.jsonl").exists()
    measured = measurements.read(tmp_path / "out")
    assert {row.arm for row in measured.interference} == set(Arm)
    assert {(row.cached_tokens, row.new_tokens) for row in measured.prefill if row.purpose == "fit"} == {
        (0, 64),
        (2048, 64),
    }
    assert {row.arm for row in measured.load} == {Arm.APPEND_D, Arm.P_DELTA}
    assert max(row.prompt_tokens + row.output_tokens for row in measured.load) <= 4032
    assert any("left out, the longest is 4096" in note for note in measured.manifest.notes)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([], "no servers"),
        (["--unified-url", "http://127.0.0.1:1", "--gpus", "0"], "expected the numbers of two GPUs"),
        (["--router-url", "http://127.0.0.1:1"], "give all three or none"),
        (["--unified-url", "http://127.0.0.1:1", "--plan", "quik"], "did you mean 'quick'"),
        (["--prefill-gpu", "0", "--decode-gpu", "1", "--transport", "nvlnk"], "did you mean 'nvlink'"),
    ],
)
def test_bad_input_is_one_line_and_2(extra, message, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert run(["calibrate", "--model", str(tmp_path), "-o", str(tmp_path / "out"), *extra]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


def test_servers_that_are_not_there_are_exit_code_3(tmp_path, capsys, require):
    require("python:aiohttp")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    command = [
        "calibrate",
        "--model",
        str(tmp_path),
        "-o",
        str(tmp_path / "out"),
        "--unified-url",
        "http://127.0.0.1:1",
    ]
    assert run([*command, "-q", "--json"]) == 3
    printed = capsys.readouterr()
    assert "unreachable" in printed.err
    assert_error(printed.out, "EnvironmentProblem", 3)


def test_the_plan_is_printed_before_anything_is_measured(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    command = [
        "calibrate",
        "--model",
        str(tmp_path),
        "-o",
        str(tmp_path / "out"),
        "--unified-url",
        "http://127.0.0.1:1",
    ]
    assert run([*command, "--plan", "full", "--dry-run"]) == 0
    printed = capsys.readouterr().err
    assert "210 cells, about " in printed
    assert "tokens of KV of the pool" in printed
    assert "not known, the servers do not answer" in printed
    assert "repeats end when 20.0 minutes are spent" in printed
    assert run([*command, "--plan", "full", "--budget-s", "900", "--dry-run"]) == 0
    assert "repeats end when 15.0 minutes are spent" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_leaves_the_cores_to_the_machine_that_measures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    servers = [
        "--unified-gpu",
        "0",
        "--prefill-gpu",
        "1",
        "--decode-gpu",
        "2",
        "--transport",
        "tcp",
        "--cpu-pin",
        "auto",
    ]
    command = ["calibrate", "--model", str(tmp_path), "-o", str(tmp_path / "out"), *servers]
    assert run([*command, "--dry-run"]) == 0
    assert capsys.readouterr().err.startswith(
        "--cpu-pin auto: each server and the client get an equal share of the cores of the machine that serves; this "
        "one has 2\n"
    )
    assert run(command) == 2
    assert "--cpu-pin auto: 2 cores for 3 servers and the client" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_help_says_that_another_plan_may_go_on(capsys):
    assert run(["calibrate", "--help"]) == 0
    assert "another --plan adds its cells" in " ".join(re.sub(r"[^\x20-\x7e]", " ", capsys.readouterr().out).split())
