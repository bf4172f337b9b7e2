"""The first turn of a size is thrown away, what is no measurement is refused, a failed turn is no load."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from measure.standins import DELTA_TCP, MACHINE, UNIFIED, service
from virtual_loop import run_virtually

from ppdsim.engines.client import Failure, RequestFailed
from ppdsim.engines.sglang.standin.faults import parse_fault
from ppdsim.errors import EnvironmentProblem
from ppdsim.measure import stall
from ppdsim.measure.calibrate import measure
from ppdsim.measure.journal import POINTS, SKIPPED, read_rows
from ppdsim.measure.load import play
from ppdsim.measure.plan import load_plan
from ppdsim.measurements import DecodeRow, InterferenceRow, LoadRow, PrefillRow

HEAD = """\
schema: ppdsim/plan/1
name: tiny
passes: 1
repeats: {least: 1, most: 2, half_width: 0.5}
"""
TURNS = "append: {cached_tokens: [0, 1024], new_tokens: [64, 256, 1024]}\n"
DECODE = "decode: {batch: [1, 4], prompt_tokens: [512]}\n"
STALL = "stall: {batch: [4], prompt_tokens: 512, turns: [[1024, 256]]}\n"
LOAD = """\
load: [{name: few, rate_per_s: 5.0, conversations: 6}]
chat:
  kind: generated
  conversations: 1
  arrivals: {kind: poisson, rate_per_s: 1.0}
  turns_mean: 2
  first_turn_new_tokens: {kind: constant, value_tokens: 500}
  later_turn_new_tokens: {kind: constant, value_tokens: 100}
  output_tokens: {kind: constant, value_tokens: 20}
  think_time: {kind: constant, value_s: 0.2}
"""


def run(tmp_path, text, *, spoil=None, arm=UNIFIED, **options):
    (tmp_path / "tiny.yaml").write_text(HEAD + text)
    lines: list[str] = []
    measure(
        load_plan(str(tmp_path / "tiny.yaml")),
        [service(*arm, spoil=spoil, **options)],
        MACHINE,
        tmp_path / "run",
        resume=False,
        show_line=lines.append,
        runner=run_virtually,
    )
    return lines


def rows(tmp_path, kind):
    return [row for row in read_rows(tmp_path / "run") if isinstance(row, kind)]


def skipped(tmp_path):
    path = tmp_path / "run" / SKIPPED
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_one_turn_of_every_size_is_sent_and_thrown_away_before_the_first_row(tmp_path):
    sent: list[int] = []

    def spoil(engine):
        original = engine.start

        def start(prompt, output_tokens, **options):
            if not (tmp_path / "run" / POINTS).exists():
                sent.append(len(prompt))
            return original(prompt, output_tokens, **options)

        engine.start = start

    run(tmp_path, TURNS + STALL, spoil=spoil)
    # The last one is the first probe, whose row is the first.
    assert sent == [64, 256, 1024, 64]


def test_turns_meet_streams_at_every_phase_of_a_step(tmp_path):
    residents, injected = [], []

    def spoil(engine):
        original = engine.start

        def start(prompt, output_tokens, **options):
            stream = original(prompt, output_tokens, **options)
            if output_tokens > 100:
                residents.append(stream)
            elif len(prompt) == 1024 + 256:
                injected.append(engine.now_s())
            return stream

        engine.start = start

    run(tmp_path, STALL, spoil=spoil)
    found = rows(tmp_path, InterferenceRow)
    times = [time_s for stream in residents for time_s in stream.token_s]
    phases = [(sent - max(t for t in times if t <= sent + 1e-9)) / found[0].itl_base_s for sent in injected]
    assert phases == pytest.approx([0.0, 1 / 3, 2 / 3] * len(found), abs=0.05)


def test_before_a_load_several_turns_are_sent_at_once_and_thrown_away(tmp_path):
    begun: list[float] = []

    def spoil(engine):
        original = engine.start

        def start(prompt, output_tokens, **options):
            if not (tmp_path / "run" / POINTS).exists():
                begun.append(engine.now_s())
            return original(prompt, output_tokens, **options)

        engine.start = start

    run(tmp_path, LOAD, spoil=spoil)
    times = [begun.count(moment) for moment in sorted(set(begun))]
    assert times == [2, 4, 8, 16, 1], "the last one is the first probe"


def test_a_size_that_the_first_turn_of_is_slow_is_measured_as_if_it_were_not(tmp_path):
    seen: set[int] = set()

    def spoil(engine):
        original = engine.generate

        async def generate(prompt, output_tokens, **options):
            found = await original(prompt, output_tokens, **options)
            if len(prompt) in seen:
                return found
            seen.add(len(prompt))
            # Compiled first: everything one second later.
            return replace(found, token_s=tuple(time_s + 1.0 for time_s in found.token_s))

        engine.generate = generate

    run(tmp_path, "append: {cached_tokens: [0], new_tokens: [64, 256, 1024]}\n", spoil=spoil)
    assert seen == {64, 256, 1024}
    assert max(row.ttft_s for row in rows(tmp_path, PrefillRow)) < 0.1


def test_streams_that_do_not_run_together_are_no_decode_cell(tmp_path):
    def spoil(engine):
        core = engine.cores["unified"]
        claimed = engine.servers

        async def servers():
            core.settings = replace(core.settings, max_running_requests=2048)
            found = await claimed()
            core.settings = replace(core.settings, max_running_requests=2)
            return found

        engine.servers = servers

    run(tmp_path, DECODE, spoil=spoil)
    assert {row.batch for row in rows(tmp_path, DecodeRow)} == {1}
    reasons = {line["reason"] for line in skipped(tmp_path) if line["cell"] == "fit/decode/4/512"}
    assert any("gaps while all 4 streams ran: not enough KV, or max_running_requests too low" in r for r in reasons)


def test_tokens_that_come_in_bursts_are_no_decode_cell(tmp_path):
    def spoil(engine):
        original = engine.start

        def start(prompt, output_tokens, **options):
            stream = original(prompt, output_tokens, **options)
            arrived = stream.arrived
            # The client reads what has come only when four are there.
            stream.arrived = lambda time_s, total: arrived(time_s, total) if total % 4 == 0 else None
            return stream

        engine.start = start

    run(tmp_path, DECODE, spoil=spoil)
    assert not rows(tmp_path, DecodeRow)
    assert all(
        "the client could not read the tokens in time (--cpu-pin)" in line["reason"] for line in skipped(tmp_path)
    )


def test_residents_that_end_before_the_last_turn_are_no_stall_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(stall, "stall_output_tokens", lambda cell: 30)
    run(tmp_path, STALL)
    assert not rows(tmp_path, InterferenceRow)
    assert {line["reason"] for line in skipped(tmp_path)} == {
        "refused: a resident stream ended before the last turn: 30 tokens were too few; set turn_tokens_per_step below "
        "16 in the plan"
    }


@pytest.mark.parametrize(("key", "tokens"), [("", 1024), ("turn_tokens_per_step: 1\n", 1280)])
def test_a_plan_says_how_long_residents_run_beside_slow_turns(tmp_path, key, tokens):
    asked = set()

    def spoil(engine):
        original = engine.start

        def start(prompt, output_tokens, **options):
            asked.add(output_tokens)
            return original(prompt, output_tokens, **options)

        engine.start = start

    run(tmp_path, STALL + key, spoil=spoil)
    assert max(asked) == tokens


def test_an_injected_turn_that_finds_another_prefix_is_no_stall_cell(tmp_path):
    def spoil(engine):
        original = engine.start

        def start(prompt, output_tokens, **options):
            if len(prompt) == 1024 + 256:
                engine.set_fault(parse_fault({"name": "cached-tokens", "times": 1}))
            return original(prompt, output_tokens, **options)

        engine.start = start

    run(tmp_path, STALL, spoil=spoil)
    assert not rows(tmp_path, InterferenceRow)
    assert all("cached tokens of a prompt of 1280: counted twice" in line["reason"] for line in skipped(tmp_path))


def test_a_turn_of_a_load_that_fails_ends_its_conversation_and_nothing_else(tmp_path):
    def spoil(engine):
        original, turns = engine.start, iter(range(10**6))

        def start(prompt, output_tokens, **options):
            # Only turns of the load ask for this many tokens.
            if output_tokens == 20 and next(turns) == 1:
                engine.set_fault(parse_fault({"name": "abort", "times": 1}))
            return original(prompt, output_tokens, **options)

        engine.start = start

    lines = run(tmp_path, TURNS + LOAD, spoil=spoil)
    (problem,) = skipped(tmp_path)
    assert problem["cell"] == "validation/load/append-d/few"
    assert "turn 0: the engine aborted it" in problem["reason"]
    found = rows(tmp_path, LoadRow)
    assert len({row.conversation_id for row in found}) == 5
    assert not any("starting it again" in line for line in lines)
    assert any(problem["reason"] in note for note in notes(tmp_path))


def notes(tmp_path):
    return json.loads((tmp_path / "run" / "manifest.json").read_text())["notes"]


def test_a_turn_of_a_load_that_cannot_be_true_is_named_and_the_others_count(tmp_path, monkeypatch):
    async def played(*arguments, **options):
        found, failures = await play(*arguments, **options)
        return [found[0].model_copy(update={"ttft_s": 1e-6}), *found[1:]], failures

    monkeypatch.setattr("ppdsim.measure.service_measurement.play", played)
    run(tmp_path, TURNS + LOAD)
    (problem,) = skipped(tmp_path)
    assert "turn 0: refused: " in problem["reason"]
    assert len({row.conversation_id for row in rows(tmp_path, LoadRow)}) >= 5
    assert min(row.ttft_s for row in rows(tmp_path, LoadRow)) > 1e-3


def test_servers_that_cannot_be_flushed_after_a_failure_are_dead(tmp_path):
    opened = []

    def spoil(engine):
        opened.append(engine)
        if len(opened) > 1:
            return
        engine.set_fault(parse_fault({"name": "transfer", "times": 1}))
        original = engine.flush

        async def flush(role="all"):
            if engine.cores["decode"].settings.decode_radix and (tmp_path / "run" / SKIPPED).exists():
                raise RequestFailed(Failure.UNREACHABLE, "connection refused")
            await original(role)

        engine.flush = flush

    # The first request is a warm-up, whose failure is nobody's; the fault strikes both sides of it and the probe.
    text = "handoff: {cached_tokens: [0], new_tokens: [64, 256]}\n"
    plain = {"arm": DELTA_TCP, "decode_radix": True}

    def twice(engine):
        spoil(engine)
        if len(opened) == 1:
            engine.set_fault(parse_fault({"name": "transfer", "times": 4}))

    lines = run(tmp_path, text, spoil=twice, **plain)
    assert len(opened) == 2
    assert any("connection refused; starting it again, once" in line for line in lines)
    assert len({row.cell for row in rows(tmp_path, PrefillRow) if row.purpose == "fit"}) == 4


def test_cell_after_cell_that_fails_gives_a_service_up(tmp_path):
    def spoil(engine):
        engine.set_fault(parse_fault({"name": "abort"}))

    with pytest.raises(EnvironmentProblem, match="append-d none: 5 cells failed in a row, the last: aborted"):
        run(tmp_path, TURNS, spoil=spoil)
    assert len(skipped(tmp_path)) == 5
