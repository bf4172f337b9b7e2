"""What a plan asks of servers: what they do not allow, as they said it last, and nothing that is over."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from measure.standins import FULL_NVLINK, FULL_TCP, MACHINE, UNIFIED, service
from virtual_loop import run_virtually

from ppdsim.engines.sglang.standin.faults import parse_fault
from ppdsim.measure.calibrate import measure
from ppdsim.measure.plan import load_plan

PLAN = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0, 1024], new_tokens: [64, 1024]}
handoff: {cached_tokens: [0], new_tokens: [64, 1024]}
decode: {batch: [4], prompt_tokens: [512]}
repeats: {least: 2, most: 4, half_width: 0.02}
"""
MOVED = "fit/prefill/append-d/1024/1024 at 512 cached tokens"


def run(tmp_path, *services, plan=PLAN, resume=False):
    path = tmp_path / "tiny.yaml"
    path.write_text(plan)
    lines: list[str] = []
    folder = tmp_path / "run"
    measure(
        load_plan(str(path)), services, MACHINE, folder, resume=resume, show_line=lines.append, runner=run_virtually
    )
    return lines, json.loads((folder / "manifest.json").read_text())["notes"]


def clipped(notes):
    return [note for note in notes if note.startswith("clipped on append-d none: ")]


@pytest.mark.parametrize(("pool", "left"), [(2200, 1), (400_000, 0)])
def test_servers_that_allow_more_take_back_what_an_earlier_call_clipped(tmp_path, pool, left):
    lines, notes = run(tmp_path, service(*UNIFIED, kv_pool_tokens=1600))
    assert len(clipped(notes)) == 2
    assert MOVED in clipped(notes)[0]
    assert set(clipped(notes)) < set(lines)
    lines, notes = run(tmp_path, service(*UNIFIED, kv_pool_tokens=pool), plan=f"{PLAN}seed: 1\n", resume=True)
    # Nothing was missing, so no server said anything new: what was clipped still is.
    assert len(clipped(notes)) == 2
    more = PLAN.replace("new_tokens: [64, 1024]", "new_tokens: [64, 128, 1024]")
    lines, notes = run(tmp_path, service(*UNIFIED, kv_pool_tokens=pool), plan=more, resume=True)
    assert not any("1600" in note for note in notes)
    assert len(clipped(notes)) == left
    assert clipped(lines) == clipped(notes)


def test_of_two_starts_in_one_call_the_last_one_counts_and_is_said(tmp_path):
    pools = iter([1600, 2200])

    def shrink(engine):
        pool = next(pools)
        for core in engine.cores.values():
            core.settings = replace(core.settings, kv_pool_tokens=pool)

    lines, notes = run(tmp_path, service(*UNIFIED, spoil=shrink), service(*FULL_TCP))
    assert next(pools, None) is None
    assert [" has 2200" in note for note in clipped(notes)] == [True]
    assert [note.split(" has ")[1][:4] for note in clipped(lines)] == ["1600", "1600", "2200"]


def test_a_link_that_was_left_out_and_then_works_is_no_longer_said_to_be(tmp_path):
    broken = []

    def spoil(engine):
        if broken:
            engine.set_fault(parse_fault({"name": "transfer"}))

    def link():
        return replace(service(*FULL_NVLINK, spoil=spoil), optional=True)

    broken.append(True)
    other = replace(service(*FULL_TCP), optional=True)
    _, notes = run(tmp_path, link(), other)
    assert any(note.startswith("p-full nvlink: left out, ") for note in notes)
    broken.clear()
    _, notes = run(tmp_path, link(), other, resume=True)
    assert not any("left out, " in note for note in notes)
