"""The closed form against one event per engine step: the same times to 1e-9 on random small scenes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from des.scenes import scenes
from hypothesis import HealthCheck, given, settings

from ppdsim.des.cluster import run_cluster

RELATIVE = 1e-9


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(scenes())
def test_both_ways_to_decode_give_the_same_turns(scene):
    spec, conversations, policy = scene
    jumped = run_cluster(spec, conversations, policy)
    stepped = run_cluster(replace(spec, per_step=True), conversations, policy)
    for name, column in jumped.turns.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(column, stepped.turns[name], rtol=RELATIVE, atol=RELATIVE, err_msg=name)
        else:
            np.testing.assert_array_equal(column, stepped.turns[name], err_msg=name)
    assert jumped.notes == stepped.notes


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(scenes())
def test_both_ways_give_the_same_gaps_between_tokens(scene):
    spec, conversations, policy = scene
    jumped = run_cluster(spec, conversations, policy)
    stepped = run_cluster(replace(spec, per_step=True), conversations, policy)

    def total(results):
        return float(np.sum(results.itl_gaps_s * results.itl_counts)), float(np.sum(results.itl_counts))

    np.testing.assert_allclose(total(jumped), total(stepped), rtol=1e-9, atol=1e-9)
    ok = jumped.turns["status"] == "ok"
    # Every token after the first is one gap of one stream.
    assert total(jumped)[1] == np.sum(jumped.turns["output_tokens"][ok] - 1)
