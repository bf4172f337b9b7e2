"""Beside streams that decode, the simulated TTFT is later than the idle one by what `TurnModel.step_wait_s` says."""

from __future__ import annotations

import numpy as np
import pytest
from des.costs import cost_model, fleet, talk

from ppdsim.des.cluster import run_cluster
from ppdsim.routing import AlwaysD, AlwaysP
from ppdsim.types import Arm, Transport

MODEL = cost_model(stall={"launch_s": 0.0, "handoff_s": 0.0})
TURNS, APART_S = 400, 1.0
"""Turns, and the time between them [s]: each one meets residents only."""


def played(nodes, policy, new, residents, overlap):
    """Return the turns that arrive at any phase of the residents' steps, and the costs of their nodes as run."""
    turns = TURNS if residents else 1  # alone, all are alike
    phases = np.random.default_rng(1).uniform(0.0, 0.5 * APART_S, turns)
    talks = [talk(str(i), i * APART_S + float(phase), (new, 2)) for i, phase in enumerate(phases)]
    spec = fleet(nodes, MODEL, residents=residents, resident_context_tokens=256, overlap_schedule=overlap)
    return run_cluster(spec, talks, policy).turns, spec.nodes[0].model


def extra_s(nodes, policy, new, residents, overlap):
    """Return how much later the mean TTFT is than without residents."""
    beside, alone = (played(nodes, policy, new, streams, overlap)[0]["ttft_s"].mean() for streams in (residents, 0))
    return beside - alone


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("new", [16, 64, 256])
@pytest.mark.parametrize("residents", [2, 8])
def test_an_append(new, residents, overlap):
    turns, model = played("U", AlwaysD(), new, residents, overlap)
    step_s = MODEL.decode.step_s(residents, 256 * residents)
    found_s = extra_s("U", AlwaysD(), new, residents, overlap)
    assert found_s == pytest.approx(model.step_wait_s(Arm.APPEND_D, step_s), abs=0.1 * step_s)
    lost_s = turns["resident_stall_s"].mean() / residents
    assert lost_s == pytest.approx(model.stall_s(Arm.APPEND_D, 0, new, residents, 256), abs=0.02 * step_s)


@pytest.mark.parametrize(("residents", "overlap"), [(2, True), (8, True), (2, False)])
def test_hand_offs_of_many_sizes(residents, overlap):
    """One size takes a whole number of steps between D's two looks; the mean over many is half a step."""
    step_s = MODEL.decode.step_s(residents, 256 * residents)
    found_s = [extra_s("P D", AlwaysP(), new, residents, overlap) for new in range(32, 288, 16)]
    model = played("P D", AlwaysP(), 32, 0, overlap)[1]
    assert np.mean(found_s) == pytest.approx(model.step_wait_s(Arm.P_FULL, step_s), abs=0.1 * step_s)


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("new", [300, 512, 513, 3000])
def test_an_idle_hand_off_in_chunks(new, overlap):
    """A chunk's KV is sent at its own end, or where the scheduler overlaps at that of the next one."""
    turns, model = played("P D", AlwaysP(), new, 0, overlap)
    assert turns["ttft_s"] == pytest.approx(float(model.handoff_ttft_s(Arm.P_FULL, Transport.TCP, 0, new)), rel=1e-9)
