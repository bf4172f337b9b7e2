"""Beside streams that decode, the simulated TTFT is later than the idle one by what `TurnModel.step_wait_s` says."""

from __future__ import annotations

import numpy as np
import pytest
from des.costs import cost_model, fleet, talk

from ppdsim.des.cluster import run_cluster
from ppdsim.routing import AlwaysD, AlwaysP
from ppdsim.types import Arm

MODEL = cost_model(stall={"launch_s": 0.0, "handoff_s": 0.0})
TURNS, APART_S = 400, 1.0
"""Turns, and the time between them [s]: each one meets residents only."""


def ttft_s(nodes, policy, new, residents, **knobs):
    """Return the TTFT of turns that arrive at any phase of the residents' steps, shape (TURNS,)."""
    phases = np.random.default_rng(1).uniform(0.0, 0.5 * APART_S, TURNS)
    talks = [talk(str(i), i * APART_S + float(phase), (new, 2)) for i, phase in enumerate(phases)]
    spec = fleet(nodes, MODEL, residents=residents, resident_context_tokens=256, **knobs)
    return run_cluster(spec, talks, policy).turns["ttft_s"]


@pytest.mark.parametrize("new", [16, 64, 256])
@pytest.mark.parametrize("residents", [2, 8])
def test_an_append(new, residents):
    extra_s = ttft_s("U", AlwaysD(), new, residents).mean() - ttft_s("U", AlwaysD(), new, 0).mean()
    step_s = MODEL.decode.step_s(residents, 256 * residents)
    assert extra_s == pytest.approx(MODEL.step_wait_s(Arm.APPEND_D, step_s), abs=0.1 * step_s)


@pytest.mark.parametrize("residents", [2, 8])
def test_hand_offs_of_many_sizes(residents):
    """One size takes a whole number of steps between D's two looks; the mean over many is half a step."""
    step_s = MODEL.decode.step_s(residents, 256 * residents)
    sizes = range(32, 288, 16)
    extra_s = [
        ttft_s("P D", AlwaysP(), new, residents).mean() - ttft_s("P D", AlwaysP(), new, 0).mean() for new in sizes
    ]
    assert np.mean(extra_s) == pytest.approx(MODEL.step_wait_s(Arm.P_FULL, step_s), abs=0.15 * step_s)
