"""What a fit of curves takes from a group of cells, and what it leaves at 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from curve_cases import turn_model
from fit.grids import TRUTH, rows, write

from ppdsim import measurements
from ppdsim.cost.base import Parameter
from ppdsim.cost.decode import DecodeCurve
from ppdsim.fit.cells import grid
from ppdsim.fit.curves import (
    FREE_HANDOFF,
    FREE_HANDOFF_ELSEWHERE,
    FREE_PREFILL,
    fit_handoff,
    fit_stall,
    solve,
    terms,
)
from ppdsim.types import Arm, Transport


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return grid(measurements.read(write(tmp_path_factory.mktemp("exact") / "m", rows(TRUTH))))


def test_a_fit_finds_as_many_terms_as_are_free(cells):
    # Without the first step's extra, which hand-offs show.
    assert terms(cells.decode) == len(DecodeCurve.PARAMETERS) - 1
    assert terms(cells.stall) == 1
    # Two terms of the front end, where the server's own span is known.
    stamped = replace(cells.append, outside_s=np.full(len(cells.append), 3e-3))
    unstamped = replace(cells.append, outside_s=np.full(len(cells.append), np.nan))
    assert terms(stamped) == terms(unstamped) + 2 == len(FREE_PREFILL)
    for group in cells.handoffs:
        assert terms(group) == len(FREE_HANDOFF[group.arm, group.transport])
    elsewhere = replace(cells.handoffs[0], arm=Arm.P_DELTA, transport=Transport.RDMA)
    assert terms(elsewhere) == len(FREE_HANDOFF_ELSEWHERE)


@pytest.mark.parametrize(("beyond_s", "join_s"), [(2e-3, 2e-3), (-0.5e-3, 0.0)])
def test_a_join_is_what_follows_the_forward_beyond_the_front_end_and_never_below_0(cells, beyond_s, join_s):
    group, model = cells.handoffs[0], turn_model()
    after_s = np.full(len(group), float(model.frontend.after_s()) + beyond_s)
    assert fit_handoff(replace(group, after_s=after_s), model).join_s == pytest.approx(join_s, abs=1e-12)


def test_places_that_do_not_apply_are_0_and_seconds_that_no_repeat_has_are_nan(cells):
    assert not cells.append.batch.any()
    assert not cells.append.context_tokens.any()
    assert not cells.decode.new_tokens.any()
    assert np.isnan(cells.decode.outside_s).all()


def test_a_sum_that_the_cells_cannot_split_is_shared_by_the_starts():
    """Two terms that are only seen together move in proportion to the squares of their starts.

    From 1 + 3 us to 8 us: the pull is on each one's relative step, so the least of both are 0.4 and 1.2.
    """
    parts = [Parameter(name=name, unit="s", low=0.0, high=1.0, meaning="a part") for name in ("short_s", "long_s")]
    found = solve(
        parts,
        {"short_s": 1e-6, "long_s": 3e-6},
        lambda values: np.asarray(values["short_s"] + values["long_s"] + np.zeros(2)),
        np.full(2, 8e-6),
    )
    assert found == {"short_s": pytest.approx(1.4e-6, rel=1e-3), "long_s": pytest.approx(6.6e-6, rel=1e-3)}


@pytest.mark.parametrize(("beyond_s", "taken_s"), [(4e-3, 4e-3), (-4e-3, 0.0)])
def test_a_hand_off_takes_from_streams_what_a_gap_has_beyond_their_step_and_never_below_0(cells, beyond_s, taken_s):
    model, (batch, context_tokens) = turn_model(), (np.array([8.0, 32.0]), np.array([2048.0, 512.0]))
    gaps_s = model.decode.step_s(batch, batch * context_tokens) + beyond_s
    handoffs = replace(
        cells.stall.pick(np.arange(2)), arm=Arm.P_FULL, batch=batch, context_tokens=context_tokens, seconds=gaps_s
    )
    found = fit_stall(cells.stall, handoffs, model.prefill, model.decode, 8192)
    assert found.handoff_s == pytest.approx(taken_s, abs=1e-12)
