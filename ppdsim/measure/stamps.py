"""The engine's own times of a request, kept only where the client's clock bears them out.

The engine stamps points in time with its wall clock, which may be set while a request runs; the client's clock is
monotonic. Stamps count from the receipt of the request, so those of one request must be in the order in which things
happen and, like every duration, fit between the sending and the last token as the client saw it. If one stamp breaks
this, the jump may have hit any of them, and all are dropped.
"""

from __future__ import annotations

from itertools import pairwise

from ppdsim.engines.client import Generation
from ppdsim.types import Arm

RECEIVED = "server_received_unix_s"
"""When the engine received a request [s, unix time]."""
POINTS = (
    "server_dispatched_s",
    "server_forward_entry_s",
    "server_prefill_finished_s",
    "server_first_response_s",
    "server_finished_s",
)
"""Points in time in the order in which they come; rows count them from the request's receipt."""
DURATIONS = ("server_queue_s", "server_e2e_s")
RATES = ("server_decode_tokens_per_s",)
OTHER_CLOCK = "server_prefill_finished_s"
"""On a decode server this stamp is of another clock (seen on SGLang 0.5.17), so it is left out there."""
ROUNDING_S = 1e-6
"""Seconds since the epoch leave this much of a double [s]."""


def server_times(found: Generation, arm: Arm) -> dict[str, float]:
    """Return the engine's own times of a request as rows have them: points since receipt, durations as they are.

    `arm` says whose server reports: a unified one, or D of a hand-off.
    """
    reported = found.server
    out = {name: reported[name] for name in RATES if name in reported}
    for name in DURATIONS:
        if 0.0 <= reported.get(name, -1.0) <= found.e2e_s + ROUNDING_S:
            out[name] = reported[name]
    received_s = reported.get(RECEIVED)
    if received_s is None:
        return out
    points = {
        name: reported[name] - received_s
        for name in POINTS
        if name in reported and (arm is Arm.APPEND_D or name != OTHER_CLOCK)
    }
    path = [0.0, *points.values()]
    if found.output_tokens == 1:
        # An only token is noted as the last one before it is sent as the first one.
        path[-2:] = sorted(path[-2:])
    if any(later < earlier - ROUNDING_S for earlier, later in pairwise([*path, found.e2e_s])):
        return out
    return {**out, RECEIVED: received_s, **points}
