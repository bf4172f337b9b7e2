"""The printed plan: what is measured and how long, KV against the pool, what is left out, and the budget."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from measure.standins import DELTA_TCP, SHIPPED, UNIFIED, link_alone, service

from ppdsim.measure import transfer
from ppdsim.measure.describe import left_lines, plan_lines
from ppdsim.measure.expected_limits import Foreseen
from ppdsim.measure.journal import Journal
from ppdsim.measure.limits import Limits
from ppdsim.measure.pending_cells import PendingCells
from ppdsim.measure.plan import load_plan
from ppdsim.types import Transport

KNOWN = Foreseen(limits=Limits(kv_pool_tokens=50_000, context_tokens=40_000), source="stated by the servers")
UNKNOWN = Foreseen(limits=Limits(kv_pool_tokens=None, context_tokens=40_000), source="not known")
ALONE, PAIR = service(*UNIFIED), service(*DELTA_TCP, decode_radix=True)


def described(name, *services, links=(), **changes):
    plan = load_plan(name).model_copy(update=changes)
    return "\n".join(plan_lines(plan, services, links, SHIPPED))


def test_the_kv_needed_stands_against_the_pool():
    text = described("quick", (ALONE, KNOWN))
    assert "tokens of KV of the pool's 50000 (stated by the servers); requests have up to 40000 tokens" in text
    assert "left out, the pool has 50000 (such as " in text
    assert "  append-d none: 62 cells, about " in text
    unknown = described("quick", (ALONE, UNKNOWN))
    assert "needs up to 70656 tokens of KV of the pool (not known); " in unknown
    assert "left out" not in unknown
    assert "  append-d none: 63 cells, about " in unknown


def test_servers_for_loads_only_are_said_to_need_no_fixed_kv():
    loads = replace(service(*DELTA_TCP), name="loads", loads_only=True)
    assert "tokens of KV" not in described("full", (loads, UNKNOWN))


@pytest.mark.parametrize(
    ("budget_s", "ending"),
    [
        (None, "to measure everything once"),
        (1200.0, "; repeats end when 20.0 minutes are spent"),
        (6.0, "which measuring everything once takes already: give a smaller plan, or fewer links (--transport)"),
    ],
)
def test_the_budget_stands_beside_the_estimate(budget_s, ending):
    (line,) = [
        line for line in described("quick", (ALONE, UNKNOWN), budget_s=budget_s).splitlines() if "in all" in line
    ]
    assert line.endswith(ending)
    # Each of the two times with its own unit: a small plan takes seconds.
    assert re.match(
        r"  in all about [\d.]+ (s|minutes), about [\d.]+ (s|minutes) of them to measure everything once", line
    )


def test_links_are_part_of_the_estimate_or_left_out_with_the_reason(monkeypatch):
    monkeypatch.setattr(transfer, "find_spec", lambda name: name)
    links = [link_alone(Transport.NVLINK), link_alone(Transport.NVLINK, gpus=(0, 1))]
    without, first, both = (described("quick", (PAIR, KNOWN), links=links[:n]) for n in range(3))
    assert "transfer alone over nvlink, host memory: left out, NVLink carries GPU memory only" in first
    assert re.search(r"transfer alone over nvlink, GPU 0 to GPU 1: 9 cells, about \d+ s", both)

    def in_all(text):
        return float(text.split("in all about ")[1].split()[0])

    assert in_all(without) == in_all(first)
    assert in_all(both) == pytest.approx(in_all(first) + 0.3, abs=0.11)


def test_the_plan_says_whose_times_it_goes_by():
    assert described("quick").startswith("plan 'quick', by the times of h200x2_llama-3.1-8b_sglang-0.5.17:\n")


def test_servers_that_are_started_are_counted():
    services = [(ALONE, KNOWN), (PAIR, KNOWN)]
    assert "and 3 starts of servers" in described("quick", *services)
    assert "and 2 starts of servers" in described("pair", *services)
    loads = replace(service(*DELTA_TCP), name="loads", loads_only=True)
    assert "and 4 starts of servers" in described("full", (loads, UNKNOWN), *services)
    running = [(replace(one, starts_servers=False), known) for one, known in services]
    assert "starts of servers" not in described("quick", *running)


def test_what_a_call_left_is_counted_by_service_and_link(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "find_spec", lambda name: object())
    journal = Journal(tmp_path / "run", resume=False)
    pending = PendingCells(load_plan("quick"), journal)
    links = [link_alone(Transport.TCP), link_alone(Transport.NVLINK)]
    cells = pending.cells(ALONE)

    def lines():
        return left_lines(pending, [ALONE, PAIR], links, SHIPPED)

    found = lines()
    assert found[0] == f"0 rows in {tmp_path / 'run'}; to go on: the same command with --resume"
    assert found[1].startswith("  transfer alone over tcp, host memory: 9 of 9 cells have no row yet, about ")
    # NVLink carries no host memory: that link was never asked for.
    assert [line.split(", about ")[0] for line in found[2:]] == [
        f"  append-d none: {len(cells)} of {len(cells)} cells have no row yet",
        f"  p-delta tcp: {(pair := len(pending.cells(PAIR)))} of {pair} cells have no row yet",
    ]
    # Two cells were tried, one of them for good.
    for cell, times in ((cells[0], 1), (cells[1], 5)):
        for _ in range(times):
            journal.skip(cell.key, "a test")
    assert lines()[2].startswith(f"  append-d none: {len(cells) - 2} of {len(cells)} cells have no row yet, about ")
    assert lines()[2].endswith("; 1 may need further repeats")
    for cell in [*cells[2:], *pending.cells(PAIR)]:
        for _ in range(5):
            journal.skip(cell.key, "a test")
    assert lines()[2:] == ("  append-d none: 1 may need further repeats",)
