"""What arrives at the traffic's rate while other turns are served."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from crossover_cases import plan

from ppdsim.crossover.waits import under_load
from ppdsim.crossover.words import shares_on_d
from ppdsim.simulation.follow_ups import FollowUps


@pytest.mark.parametrize(("output_tokens", "steps"), [((1, 1), 0.0), ((1, 2), 0.5), ((3, 3), 2.0)])
def test_other_turns_decode_for_a_step_a_token_after_the_first(output_tokens, steps):
    known = plan()
    traffic = replace(known.traffic, output_tokens=output_tokens)
    loaded = under_load(known.grid, traffic, known.central, known.comparisons[0], np.array([4096.0]), np.array([256.0]))
    streams = float(known.grid.residents)
    step_s = float(known.central.decode.step_s(streams, streams * known.grid.resident_context_tokens))
    assert loaded.decoding_turns == pytest.approx(traffic.rate_per_s * step_s * steps)


def test_shares_of_follow_ups_are_of_the_first_previous_answer_only():
    known = plan()
    found = FollowUps(
        cached_tokens=np.array([4096.0, 4096.0]),
        new_tokens=np.array([16.0, 8192.0]),
        streams=np.array([4.0, 4.0]),
        held_share=1.0,
        played="a pair",
        overloaded=False,
    )
    first = known.comparisons[0]
    asked = replace(
        known,
        traffic=replace(known.traffic, follow_ups=found),
        comparisons=(first, replace(first, previous_output_tokens=512)),
    )
    _, share = shares_on_d(asked)
    assert share.startswith("Of these turns, 50% are cheaper as an append than as a hand-off over NVLink")
