"""Whatever goes wrong on the servers is named, skipped and survived; nothing wrong gets into the raw file as right."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from measure.standins import FULL_NVLINK, FULL_TCP, MACHINE, SHIPPED, UNIFIED, service
from virtual_loop import run_virtually

from ppdsim import compose, measurements
from ppdsim.engines.client import Failure, RequestFailed
from ppdsim.engines.sglang.standin.faults import parse_fault
from ppdsim.errors import EnvironmentProblem
from ppdsim.fit.cells import prefill_cells
from ppdsim.measure.calibrate import measure
from ppdsim.measure.journal import POINTS, SKIPPED, read_rows
from ppdsim.measure.plan import load_plan
from ppdsim.measure.prefill import OUTPUT_TOKENS
from ppdsim.measurements import PrefillRow

PLAN = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0, 1024], new_tokens: [64, 256, 1024]}
handoff: {cached_tokens: [0, 1024], new_tokens: [64, 256, 1024]}
decode: {batch: [1, 4], prompt_tokens: [512]}
stall: {batch: [4], prompt_tokens: 512, turns: [[1024, 256]]}
repeats: {least: 2, most: 4, half_width: 0.02}
"""


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(PLAN)
    return load_plan(str(path))


def run(plan, folder, *services):
    lines: list[str] = []
    measure(plan, list(services), MACHINE, folder, resume=False, show_line=lines.append, runner=run_virtually)
    return lines


def skipped(folder):
    path = folder / SKIPPED
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def all_right(folder):
    """Return whether every TTFT in the raw file that may be fitted is what the profile says."""
    model = compose.central(SHIPPED)
    rows = [row for row in read_rows(folder) if isinstance(row, PrefillRow) and not row.outlier]
    expected = [
        float(np.asarray(model.ttft_s(row.arm, row.transport, float(row.cached_tokens), float(row.new_tokens))))
        for row in rows
    ]
    np.testing.assert_allclose([row.ttft_s for row in rows], expected, rtol=1e-6)
    return bool(rows)


def striking(name, times=1, *, engines=None, **fields):
    """Return a `spoil` that sets a fault at the third measured turn of each of the first `engines` engines."""
    opened = []

    def spoil(engine):
        opened.append(engine)
        if engines is not None and len(opened) > engines:
            return
        original, turns = engine.start, iter(range(10**6))

        def start(prompt, output_tokens, **options):
            # Only measured turns ask for this many tokens.
            if output_tokens == OUTPUT_TOKENS and next(turns) == 2:
                engine.set_fault(parse_fault({"name": name, "times": times, **fields}))
            return original(prompt, output_tokens, **options)

        engine.start = start

    return opened, spoil


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("abort", "aborted: the engine aborted it"),
        ("hang", "timeout: 0 of "),
        ("http-500", "http: status 500"),
        ("disconnect", "disconnected: after 2 of "),
        ("cached-tokens", "cached tokens, intended"),
    ],
)
def test_a_request_that_goes_wrong_is_named_skipped_and_repeated(plan, tmp_path, name, said):
    _, spoil = striking(name)
    lines = run(plan, tmp_path / "run", service(*UNIFIED, spoil=spoil))
    problems = skipped(tmp_path / "run")
    assert len(problems) >= 1
    assert any(said in problem["reason"] for problem in problems)
    assert any(line.startswith("skipped ") and said in line for line in lines)
    assert all_right(tmp_path / "run")
    # What was skipped was measured in a later round: the plan is complete.
    keys = {row.cell for row in read_rows(tmp_path / "run") if row.purpose == "fit"}
    assert len(keys) == 6 + 2 + 1


def test_a_pool_that_is_too_small_leaves_cells_out_before_they_hang(plan, tmp_path):
    run(plan, tmp_path / "run", service(*UNIFIED, kv_pool_tokens=1600))
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    left_out = [note for note in manifest["notes"] if "the pool has" in note]
    assert any("fit/prefill/append-d/1024/1024 at 512 cached tokens" in note for note in left_out)
    assert any("fit/decode/4/512" in note for note in left_out)
    assert all_right(tmp_path / "run")


def test_a_pool_that_shrinks_behind_ones_back_is_noticed(plan, tmp_path):
    def spoil(engine):
        engine.set_fault(parse_fault({"name": "small-pool", "amount": 1200}))

    with pytest.raises(EnvironmentProblem, match="cells failed in a row"):
        run(plan, tmp_path / "run", service(*UNIFIED, spoil=spoil))
    assert skipped(tmp_path / "run")
    assert all_right(tmp_path / "run")


def test_a_dead_server_is_started_again_once(plan, tmp_path):
    opened, spoil = striking("kill", engines=1)
    lines = run(plan, tmp_path / "run", service(*UNIFIED, spoil=spoil))
    assert len(opened) == 2
    assert any("starting it again, once" in line for line in lines)
    assert all_right(tmp_path / "run")
    assert len({row.cell for row in read_rows(tmp_path / "run") if row.purpose == "fit"}) == 6 + 2 + 1


def test_a_server_that_dies_twice_ends_the_run_and_keeps_what_was_measured(plan, tmp_path):
    opened, spoil = striking("kill")
    with pytest.raises(EnvironmentProblem, match="unreachable"):
        run(plan, tmp_path / "run", service(*UNIFIED, spoil=spoil))
    assert len(opened) == 2
    assert read_rows(tmp_path / "run")
    assert (tmp_path / "run" / "manifest.json").exists()


def test_a_transfer_that_fails_is_named(plan, tmp_path):
    def spoil(engine):
        engine.set_fault(parse_fault({"name": "transfer", "times": 5}))

    run(plan, tmp_path / "run", service(*FULL_TCP, spoil=spoil))
    assert any("KVTransferError" in problem["reason"] for problem in skipped(tmp_path / "run"))
    assert all_right(tmp_path / "run")


@pytest.mark.parametrize("amount", [-3600.0, -0.05, 0.5, 3600.0])
def test_a_clock_that_jumps_costs_its_row_the_stamps_and_nothing_else(plan, tmp_path, amount):
    folder = tmp_path / "run"
    _, spoil = striking("clock-jump", times=3, amount=amount)
    run(plan, folder, service(*UNIFIED, spoil=spoil))
    assert not skipped(folder)
    assert all_right(folder)
    rows = [row for row in read_rows(folder) if isinstance(row, PrefillRow)]
    dropped = [row for row in rows if row.server_received_unix_s is None]
    # One of the three struck the request that warms a prefix, or none did.
    assert len(dropped) in (2, 3)
    for row in dropped:
        assert {row.server_dispatched_s, row.server_first_response_s, row.server_finished_s, row.server_e2e_s} == {None}
    # Nobody who reads the file finds anything to refuse, and a cell that lost the stamps of one repeat is whole.
    measured = measurements.read(folder)
    assert not measured.refused
    cells = prefill_cells(measured, *UNIFIED)
    assert np.isfinite(cells.outside_s).all()
    assert np.isfinite(cells.after_s).all()


def test_a_first_token_before_the_weights_can_be_read_never_reaches_the_file(plan, tmp_path):
    def spoil(engine):
        original, turns = engine.generate, iter(range(10**6))

        async def generate(prompt, output_tokens, **options):
            found = await original(prompt, output_tokens, **options)
            if output_tokens == OUTPUT_TOKENS and next(turns) == 2:
                return replace(found, sent_s=found.token_s[0] - 1e-3)
            return found

        engine.generate = generate

    run(plan, tmp_path / "run", service(*UNIFIED, spoil=spoil))
    (problem,) = skipped(tmp_path / "run")
    assert "below the hardware's floor" in problem["reason"]
    assert all_right(tmp_path / "run")
    # It was measured again, so the plan is complete.
    assert problem["cell"] in {row.cell for row in read_rows(tmp_path / "run")}
    assert not measurements.read(tmp_path / "run").refused


def test_a_prefix_that_is_no_whole_page_is_written_as_the_engine_cached_it(tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_text(PLAN.replace("append: {cached_tokens: [0, 1024]", "append: {cached_tokens: [1000]"))
    run(load_plan(str(path)), tmp_path / "run", service(*UNIFIED))
    measured = measurements.read(tmp_path / "run")
    assert not measured.refused
    rows = [row for row in measured.prefill if row.cell == "fit/prefill/append-d/1000/64"]
    assert {(row.cached_tokens, row.new_tokens) for row in rows} == {(960, 104)}


def test_an_accident_in_the_first_repeat_of_a_cell_is_not_fitted(plan, tmp_path):
    def spoil(engine):
        original, turns = engine.generate, iter(range(10**6))

        async def generate(prompt, output_tokens, **options):
            found = await original(prompt, output_tokens, **options)
            # The first measured turn is a probe, the second the first of the plan's cells.
            if output_tokens == OUTPUT_TOKENS and next(turns) == 1:
                return replace(found, token_s=tuple(time_s + 0.5 for time_s in found.token_s))
            return found

        engine.generate = generate

    folder = tmp_path / "run"
    run(plan, folder, service(*UNIFIED, spoil=spoil))
    (accident,) = [row for row in read_rows(folder) if isinstance(row, PrefillRow) and row.outlier]
    assert accident.purpose == "fit"
    assert accident.ttft_s > 0.5
    # The raw file has it as it was measured, first of its cell, and the line that marks it.
    lines = [json.loads(line) for line in (folder / POINTS).read_text().splitlines()]
    assert [line.get("outlier") for line in lines if line["cell"] == accident.cell] == [False, False, None, False]
    assert all_right(folder)
    measured = measurements.read(folder)
    assert sum(row.cell == accident.cell and not row.outlier for row in measured.prefill) == 2
    assert prefill_cells(measured, *UNIFIED).seconds.max() < 0.5


@pytest.mark.parametrize("times", [1, 3])
def test_a_cache_that_is_not_emptied_is_noticed_and_its_turn_not_counted(plan, tmp_path, times):
    """What is still cached would make a prefill look fast; a server that stays busy answers 400."""

    def spoil(engine):
        original, calls = engine.flush, iter(range(10**6))

        async def flush(role="all"):
            # After the warm-up and the first blocks.
            if 4 <= next(calls) < 4 + times:
                raise RequestFailed(Failure.HTTP, "/flush_cache: status 400: Flush cache failed.")
            await original(role)

        engine.flush = flush

    folder = tmp_path / "run"
    run(plan, folder, service(*UNIFIED, spoil=spoil))
    assert any("Flush cache failed" in problem["reason"] for problem in skipped(folder))
    assert all_right(folder)
    assert len({row.cell for row in read_rows(folder) if row.purpose == "fit"}) == 6 + 2 + 1


def test_a_cache_that_is_never_emptied_ends_the_run(plan, tmp_path):
    def spoil(engine):
        original, calls = engine.flush, iter(range(10**6))

        async def flush(role="all"):
            if next(calls) >= 4:
                raise RequestFailed(Failure.HTTP, "/flush_cache: status 400: Flush cache failed.")
            await original(role)

        engine.flush = flush

    with pytest.raises(EnvironmentProblem, match="cells failed in a row, the last: http: /flush_cache: status 400"):
        run(plan, tmp_path / "run", service(*UNIFIED, spoil=spoil))
    assert all_right(tmp_path / "run")


def dead(arm, transport, *, optional):
    def spoil(engine):
        engine.set_fault(parse_fault({"name": "abort", "times": 10**6}))

    return replace(service(arm, transport, spoil=spoil), optional=optional)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_link_that_nobody_asked_for_is_left_out_if_it_fails(plan, tmp_path, passes):
    plan = plan.model_copy(update={"passes": passes})
    alive = replace(service(*FULL_TCP), optional=True)
    lines = run(plan, tmp_path / "run", service(*UNIFIED), dead(*FULL_NVLINK, optional=True), alive)
    (line,) = [line for line in lines if "left out, " in line]
    assert line.startswith("p-full nvlink: left out, 5 cells failed in a row")
    assert line.endswith("--transport chooses the links")
    assert line in json.loads((tmp_path / "run" / "manifest.json").read_text())["notes"]
    rows = [row for row in read_rows(tmp_path / "run") if row.purpose == "fit" and isinstance(row, PrefillRow)]
    assert {(row.arm, row.transport) for row in rows} == {UNIFIED, FULL_TCP}
    assert len({row.cell for row in rows}) == 12


def test_if_every_link_fails_or_one_that_was_asked_for_the_run_fails(plan, tmp_path):
    with pytest.raises(EnvironmentProblem, match="p-full tcp: 5 cells failed"):
        run(plan, tmp_path / "all", dead(*FULL_NVLINK, optional=True), dead(*FULL_TCP, optional=True))
    with pytest.raises(EnvironmentProblem, match="p-full nvlink: 5 cells failed"):
        run(plan, tmp_path / "asked", dead(*FULL_NVLINK, optional=False), service(*FULL_TCP))
