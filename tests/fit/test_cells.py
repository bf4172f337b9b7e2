"""What becomes of the rows of one cell: their spread, and what the server's stamps say of a wait outside the engine."""

from __future__ import annotations

from math import nan
from types import SimpleNamespace

import numpy as np
import pytest

from ppdsim.fit.cells import prefill_cells, relative_spread
from ppdsim.measurements import PrefillRow
from ppdsim.types import Arm, Transport


@pytest.mark.parametrize(
    ("values", "spread"),
    [([3.0], nan), ([2.0, 2.0], 0.0), ([3.0, 5.0], 0.25), ([9.0, 1.0, 4.0], 1.0)],
)
def test_a_spread_is_half_the_range_over_the_median(values, spread):
    np.testing.assert_equal(relative_spread(values), spread)


def cells(arm: Arm, *, ttft_s: float = 0.5, **stamps: float | None):
    """Return the one cell of a row with the server's `stamps`."""
    row = PrefillRow(
        arm=arm,
        transport=Transport.NONE,
        cached_tokens=0,
        new_tokens=64,
        found_cached_tokens=0,
        repeat=0,
        elapsed_s=0.0,
        ttft_s=ttft_s,
        output_tokens=4,
        finish_reason="length",
        **stamps,
    )
    return prefill_cells(SimpleNamespace(prefill=[row]), arm, Transport.NONE)


@pytest.mark.parametrize(
    ("arm", "entry_s", "finished_s", "first_s", "outside_s", "after_s"),
    [
        # Of an append: what the client waited beyond the forward; from the forward's end to the first response.
        (Arm.APPEND_D, 0.125, 0.375, 0.4375, 0.25, 0.0625),
        # Of a hand-off: up to D's forward, and from there on.
        (Arm.P_FULL, 0.125, 0.25, 0.4375, 0.375, 0.3125),
        # A span of the very TTFT leaves nothing outside, and that is known; nothing passes between equal stamps.
        (Arm.APPEND_D, 0.125, 0.625, 0.625, 0.0, 0.0),
        (Arm.P_FULL, 0.5, None, 0.5, 0.0, 0.0),
        # Stamps out of order tell nothing.
        (Arm.APPEND_D, 0.125, 0.75, 0.6875, nan, nan),
        (Arm.P_FULL, 0.625, None, 0.5, nan, nan),
        # Nor does a stamp without the other one.
        (Arm.APPEND_D, None, 0.375, 0.4375, nan, 0.0625),
        (Arm.APPEND_D, 0.125, None, 0.4375, nan, nan),
        (Arm.P_FULL, None, 0.375, 0.4375, nan, nan),
        (Arm.P_FULL, 0.125, None, None, 0.375, nan),
    ],
)
def test_the_servers_stamps_say_what_passed_outside_the_engine(arm, entry_s, finished_s, first_s, outside_s, after_s):
    found = cells(
        arm,
        server_forward_entry_s=entry_s,
        server_prefill_finished_s=finished_s,
        server_first_response_s=first_s,
    )
    np.testing.assert_equal(found.outside_s, [outside_s])
    np.testing.assert_equal(found.after_s, [after_s])
