"""The closed form against one event per engine step: the same times to 1e-9 on random small scenes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from des.scenes import block_scenes, preloads, scenes, tied_scenes
from hypothesis import HealthCheck, given, settings

from ppdsim.des.cluster import run_cluster

RELATIVE = 1e-9


def common(examples: int) -> settings:
    return settings(
        max_examples=examples, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )


def assert_both_agree(scene, *, relative=RELATIVE, preload=None):
    spec, conversations, policy = scene
    jumped = run_cluster(spec, conversations, policy, preloads=preload)
    stepped = run_cluster(replace(spec, per_step=True), conversations, policy, preloads=preload)
    for name, column in jumped.turns.items():
        if column.dtype.kind == "f" and relative:
            np.testing.assert_allclose(column, stepped.turns[name], rtol=relative, atol=relative, err_msg=name)
        else:
            np.testing.assert_array_equal(column, stepped.turns[name], err_msg=name)
    assert jumped.notes == stepped.notes
    assert_same_activity(jumped.activity, stepped.activity, relative)
    return jumped, stepped


def assert_same_activity(jumped, stepped, relative):
    """Counts exactly; seconds like all times."""
    for one, other in zip((*jumped.nodes, *jumped.links), (*stepped.nodes, *stepped.links), strict=True):
        assert replace(one, busy_s=0.0) == replace(other, busy_s=0.0)
        assert one.busy_s == pytest.approx(other.busy_s, rel=relative, abs=1e-9)
    assert jumped.span_s == pytest.approx(stepped.span_s, rel=relative)


@common(150)
@given(scenes())
def test_both_ways_to_decode_give_the_same_turns(scene):
    assert_both_agree(scene)


@common(60)
@given(scenes(), preloads())
def test_both_ways_agree_where_first_turns_find_a_prefix(scene, preload):
    assert_both_agree(scene, preload=preload)


@common(60)
@given(block_scenes())
def test_both_ways_agree_where_requests_share_blocks(scene):
    assert_both_agree(scene)


@common(100)
@given(tied_scenes())
def test_both_ways_agree_to_the_last_bit_where_everything_happens_at_once(scene):
    """All sums are exact here, so an arrival on a boundary is exactly on it: ties are decided by design."""
    assert_both_agree(scene, relative=0.0)


@common(40)
@given(scenes())
def test_both_ways_give_the_same_gaps_between_tokens(scene):
    jumped, stepped = assert_both_agree(scene)

    # Gaps before the first step of a node are undefined and felt by nobody.
    felt = jumped.itl_counts > 0
    assert np.all(np.isfinite(jumped.itl_gaps_s[felt]))
    np.testing.assert_allclose(
        np.nansum(jumped.itl_gaps_s * jumped.itl_counts), np.nansum(stepped.itl_gaps_s * stepped.itl_counts), rtol=1e-9
    )
    ok = jumped.turns["status"] == "ok"
    # Every token after the first is one gap of one stream.
    assert np.sum(jumped.itl_counts) == np.sum(jumped.turns["output_tokens"][ok] - 1)
