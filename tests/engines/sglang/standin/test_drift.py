"""An engine that has drifted is as slow as one that was so from the start, in every part."""

from __future__ import annotations

import pytest
from des.costs import cost_model
from engines.sglang.standin.inprocess import InProcessEngine
from engines.sglang.standin.stand_in import MODEL
from virtual_loop import run_virtually

from ppdsim.engines.sglang.standin.build import load_profile
from ppdsim.engines.stand_in import DEFAULT_PROFILE
from ppdsim.turn import TurnModel

OTHER = cost_model(chunk=8192, page=64)


async def _token_s(disaggregated: bool, first: TurnModel, later: TurnModel) -> list[float]:
    engine = InProcessEngine(load_profile(DEFAULT_PROFILE), disaggregated=disaggregated, model=first)
    engine.drift_to(later)
    generation = await engine.start(list(range(1000, 1600)), 5, timeout_s=60.0).task
    return [time_s - generation.sent_s for time_s in generation.token_s]


@pytest.mark.parametrize("disaggregated", [False, True])
def test_a_drift_reaches_every_part(disaggregated: bool) -> None:
    drifted = run_virtually(_token_s(disaggregated, MODEL, OTHER))
    assert drifted == pytest.approx(run_virtually(_token_s(disaggregated, OTHER, OTHER)), abs=1e-9)
    assert drifted != pytest.approx(run_virtually(_token_s(disaggregated, MODEL, MODEL)), abs=1e-4)
