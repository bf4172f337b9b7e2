"""The printed plan: what is measured and how long, KV against the pool, what is left out, and the budget."""

from __future__ import annotations

from dataclasses import replace

import pytest
from calibrate.live.standins import DELTA_TCP, SHIPPED, UNIFIED, service

from ppdsim import compose
from ppdsim.calibrate.live import transfer
from ppdsim.calibrate.live.describe import plan_lines
from ppdsim.calibrate.live.foreseen import Foreseen
from ppdsim.calibrate.live.limits import Limits
from ppdsim.calibrate.live.plan import load_plan
from ppdsim.calibrate.live.transfer import Link
from ppdsim.types import Transport

MODEL = compose.central(SHIPPED)
KNOWN = Foreseen(limits=Limits(kv_pool_tokens=50_000, context_tokens=40_000), source="as the servers say")
UNKNOWN = Foreseen(limits=Limits(kv_pool_tokens=None, context_tokens=40_000), source="not known")
ALONE, PAIR = service(*UNIFIED), service(*DELTA_TCP, decode_radix=True)


def described(name, *services, links=(), **changes):
    plan = load_plan(name).model_copy(update=changes)
    return "\n".join(plan_lines(plan, services, links, MODEL))


def test_the_kv_needed_stands_against_the_pool():
    text = described("quick", (ALONE, KNOWN))
    assert "tokens of KV of the pool's 50000 (as the servers say); requests have up to 40000 tokens" in text
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


def test_links_are_part_of_the_estimate_or_left_out_with_the_reason(monkeypatch):
    monkeypatch.setattr(transfer, "find_spec", lambda name: name)
    links = [Link(transport=Transport.NVLINK), Link(transport=Transport.NVLINK, gpus=(0, 1))]
    without, first, both = (described("quick", (PAIR, KNOWN), links=links[:n]) for n in range(3))
    assert "transfer alone over nvlink, host memory: left out, NVLink carries GPU memory only" in first
    assert "transfer alone over nvlink, GPU 0 to GPU 1: 9 cells, about 0.3 minutes" in both

    def in_all(text):
        return float(text.split("in all about ")[1].split()[0])

    assert in_all(without) == in_all(first)
    assert in_all(both) == pytest.approx(in_all(first) + 0.3, abs=0.11)


def test_servers_that_are_started_are_counted():
    services = [(ALONE, KNOWN), (PAIR, KNOWN)]
    assert "and 3 starts of servers" in described("quick", *services)
    assert "and 2 starts of servers" in described("pair", *services)
    loads = replace(service(*DELTA_TCP), name="loads", loads_only=True)
    assert "and 4 starts of servers" in described("full", (loads, UNKNOWN), *services)
    running = [(replace(one, starts_servers=False), known) for one, known in services]
    assert "starts of servers" not in described("quick", *running)
