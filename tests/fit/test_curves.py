"""What a fit of curves takes from a group of cells, and what it leaves at 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from curve_cases import turn_model
from fit.grids import TRUTH, rows, write

from ppdsim import measurements
from ppdsim.cost.decode import DecodeCurve
from ppdsim.fit.cells import grid
from ppdsim.fit.curves import FREE_HANDOFF, FREE_HANDOFF_ELSEWHERE, FREE_PREFILL, fit_handoff, terms
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
