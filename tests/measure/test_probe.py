"""The probe: a small cold turn everywhere, and where KV travels one that shows the link, taking turns."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from measure.standins import DELTA_TCP, MACHINE, SHIPPED, UNIFIED, service
from virtual_loop import run_virtually

from ppdsim import compose
from ppdsim.fit.drift import DOMINANT
from ppdsim.measure.calibrate import measure
from ppdsim.measure.journal import read_rows
from ppdsim.measure.plan import load_plan
from ppdsim.types import Arm, Transport

PLAN = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0], new_tokens: [64, 128, 256]}
handoff: {cached_tokens: [0], new_tokens: [64, 128, 256]}
repeats: {least: 2, most: 2, half_width: 0.5}
"""


def probes(tmp_path, keys, *services):
    path = tmp_path / "plan.yaml"
    path.write_text(f"{PLAN}probe: {{new_tokens: 64, every_s: 0.01{keys}}}\n")
    measure(
        load_plan(str(path)),
        services,
        MACHINE,
        tmp_path / "run",
        resume=False,
        show_line=lambda text: None,
        runner=run_virtually,
    )
    rows = [row for row in read_rows(tmp_path / "run") if row.purpose == "probe"]
    return Counter((row.arm.value, row.new_tokens) for row in rows)


def test_a_pair_takes_turns_between_both_arms_and_a_transfer(tmp_path):
    found = probes(tmp_path, ", handoff_tokens: 1024", service(*DELTA_TCP, decode_radix=True))
    assert set(found) == {("p-delta", 64), ("p-full", 64), ("p-delta", 1024)}
    assert max(found.values()) - min(found.values()) <= 1


def test_a_unified_server_has_the_small_one_only(tmp_path):
    assert set(probes(tmp_path, ", handoff_tokens: 1024", service(*UNIFIED))) == {("append-d", 64)}


def test_a_transfer_that_the_context_does_not_allow_is_no_probe(tmp_path):
    found = probes(tmp_path, ", handoff_tokens: 1024", service(*DELTA_TCP, decode_radix=True, context_tokens=1024))
    assert set(found) == {("p-delta", 64), ("p-full", 64)}


def test_it_comes_every_few_seconds_all_along(tmp_path):
    plan = load_plan("quick")
    call = measure(
        plan, [service(*UNIFIED)], MACHINE, tmp_path / "run", resume=False, show_line=str, runner=run_virtually
    )
    rows = read_rows(tmp_path / "run")
    times_s = [row.elapsed_s for row in rows if row.purpose == "probe"]
    longest_s = max(call.budget.costs_s.values())
    for earlier_s, later_s in pairwise(times_s):
        assert plan.probe.every_s <= later_s - earlier_s < plan.probe.every_s + longest_s + 0.2
    others = [row.elapsed_s for row in rows if row.purpose != "probe"]
    assert times_s[0] < others[0]
    assert times_s[-1] > others[-1] - plan.probe.every_s - longest_s


def test_a_plan_need_not_ask_for_it(tmp_path):
    assert set(probes(tmp_path, "", service(*DELTA_TCP, decode_radix=True))) == {("p-delta", 64), ("p-full", 64)}


@pytest.mark.parametrize("name", ["quick", "full", "pair", "rates"])
@pytest.mark.parametrize("arm", [Arm.P_FULL, Arm.P_DELTA])
def test_over_tcp_the_small_probe_is_no_transfer_and_the_larger_one_is(name, arm):
    probe = load_plan(name).probe
    model = compose.central(SHIPPED)

    def wire_share(tokens):
        wire_s = model.handoff(arm, Transport.TCP).wire_s(float(tokens), 0.0)
        return float(wire_s / model.handoff_ttft_s(arm, Transport.TCP, 0.0, float(tokens), 0.0))

    assert wire_share(probe.new_tokens) < 0.5 * DOMINANT
    assert wire_share(probe.handoff_tokens) > DOMINANT
