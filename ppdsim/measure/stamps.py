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

RECEIVED = "request_received_ts"
"""The engine's name for when it received a request [s, unix time]."""
STAMPS = {
    "api_server_dispatch_finish_ts": "server_dispatched_s",
    "forward_entry_time": "server_forward_entry_s",
    "prefill_finished_time": "server_prefill_finished_s",
    "response_sent_to_client_ts": "server_first_response_s",
    "request_finished_ts": "server_finished_s",
}
"""The engine's names of points in time in the order in which they come, and the schema's names, where they count from
the request's receipt."""
DURATIONS = {"queue_time": "server_queue_s", "e2e_latency": "server_e2e_s"}
"""The engine's names of durations, and the schema's."""
RATES = {"decode_throughput": "server_decode_tokens_per_s"}
"""The engine's names of rates, and the schema's."""
OTHER_CLOCK = "prefill_finished_time"
"""On a decode server this stamp is of another clock (seen on SGLang 0.5.17), so it is left out there."""
ROUNDING_S = 1e-6
"""Seconds since the epoch leave this much of a double [s]."""


def server_times(found: Generation, arm: Arm) -> dict[str, float]:
    """Return the engine's own times of a request under the schema's names: stamps since receipt, durations as they are.

    `arm` says whose server reports: a unified one, or D of a hand-off.
    """
    reported = found.server
    out = {ours: reported[theirs] for theirs, ours in RATES.items() if theirs in reported}
    for theirs, ours in DURATIONS.items():
        if 0.0 <= reported.get(theirs, -1.0) <= found.e2e_s + ROUNDING_S:
            out[ours] = reported[theirs]
    received_s = reported.get(RECEIVED)
    if received_s is None:
        return out
    stamps = {
        ours: reported[theirs] - received_s
        for theirs, ours in STAMPS.items()
        if theirs in reported and (arm is Arm.APPEND_D or theirs != OTHER_CLOCK)
    }
    path = [0.0, *stamps.values()]
    if found.output_tokens == 1:
        # An only token is noted as the last one before it is sent as the first one.
        path[-2:] = sorted(path[-2:])
    if any(later < earlier - ROUNDING_S for earlier, later in pairwise([*path, found.e2e_s])):
        return out
    return {**out, "server_received_unix_s": received_s, **stamps}
