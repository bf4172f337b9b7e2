"""A machine that becomes slower while it is measured: the card says what moved, by how much, and when."""

from __future__ import annotations

import asyncio
import math
import re

import pytest
from measure.standins import FULL_TCP, MACHINE, SHIPPED, UNIFIED, service
from virtual_loop import run_virtually

from ppdsim import compose
from ppdsim.card import card_of, to_text
from ppdsim.measure.calibrate import fit, measure
from ppdsim.measure.plan import load_plan
from ppdsim.types import Tag

PLAN = """\
schema: ppdsim/plan/1
name: drifting
append: {cached_tokens: [0, 1024, 4096], new_tokens: [64, 256, 1024, 4096]}
handoff: {cached_tokens: [0, 1024, 4096], new_tokens: [256, 1024, 4096]}
decode: {batch: [1, 4], prompt_tokens: [256, 1024]}
stall: {batch: [2, 4], prompt_tokens: 256, turns: [[1024, 256], [0, 1024]]}
repeats: {least: 2, most: 5, half_width: 0.02}
probe: {new_tokens: 64, every_s: 1.0}
"""
BEFORE = compose.central(SHIPPED)
MIDDLE_S = 10.0
"""About the middle of the run; the first pass over the unified server is done, and the pair's first round."""
ONE_SIGMA = 2.0 * compose.HALF_NORMAL_90


def calibrated(tmp_path, after):
    """Calibrate a stand-in that takes the times of another model from the middle of the run on."""

    def spoil(engine):
        start, loop = engine.start, asyncio.get_running_loop()
        begin_s = loop.time() if not spoilt else spoilt[0]
        spoilt.append(begin_s)

        def drifting(*arguments, **options):
            if loop.time() - begin_s > MIDDLE_S:
                engine.drift_to(after)
            return start(*arguments, **options)

        engine.start = drifting

    spoilt = []
    (tmp_path / "plan.yaml").write_text(PLAN)
    services = [service(*arm, spoil=spoil) for arm in (UNIFIED, FULL_TCP)]
    measure(
        load_plan(str(tmp_path / "plan.yaml")),
        services,
        MACHINE,
        tmp_path / "run",
        resume=False,
        show_line=lambda _: None,
        runner=run_virtually,
    )
    return fit(tmp_path / "run", show_line=lambda _: None, draws=10)


def said(profile, quantity):
    """Return what the card says of a quantity: whether it drifted, one sigma, and when it was fastest and slowest."""
    (line,) = [line for line in to_text(card_of(profile)).splitlines() if f"{quantity} moves over" in line]
    found = re.search(
        r"measured: (drifted|steady): ([\d.]+)% between \d+ blocks of this run, ([\d.]+)% inside; "
        r"fastest (\d+) s and slowest (\d+) s",
        line,
    )
    word, *numbers = found.groups()
    return word, *map(float, numbers)


@pytest.mark.parametrize(
    ("quantity", "factor"), [("floor_s", 1.1), ("wire_s_per_token", 1.2)], ids=["launch floor", "link"]
)
def test_what_drifted_is_told_from_what_did_not(tmp_path, quantity, factor):
    slower = {
        "floor_s": compose.with_floor(BEFORE, factor * BEFORE.prefill.floor_s),
        "wire_s_per_token": compose.with_wire(BEFORE, factor),
    }
    profile = calibrated(tmp_path, slower[quantity])
    drift = profile.drift_of(quantity)
    assert drift.tag is Tag.MEASURED
    # Half of the run before the step and half after it: one sigma is half of it, less if the halves are unequal.
    sigma = math.log(drift.high / drift.low) / ONE_SIGMA
    assert 0.7 * math.log(factor) / 2 < sigma < 1.1 * math.log(factor) / 2
    word, percent, inside, fastest_s, slowest_s = said(profile, quantity)
    assert word == "drifted"
    assert percent == pytest.approx(100 * sigma, abs=0.1)
    # What lies inside a block is noise; only the block in which the step falls has any.
    assert inside < percent / 2
    assert fastest_s < MIDDLE_S < slowest_s
    for other in {"floor_s", "wire_s_per_token", "compute"} - {quantity}:
        assert said(profile, other)[0] == "steady"


def test_a_run_without_drift_says_that(tmp_path):
    profile = calibrated(tmp_path, BEFORE)
    for quantity in ("floor_s", "wire_s_per_token", "compute"):
        word, percent, *_ = said(profile, quantity)
        assert (word, percent) == ("steady", 0.0)
