"""One entry a registered curve: parameters that a test can use, and its seconds as a function of token counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ppdsim.cost.base import AbstractCurve, Quantity
from ppdsim.cost.decode import DecodeCurve
from ppdsim.cost.frontend import FrontendCurve
from ppdsim.cost.prefill import PrefillCurve
from ppdsim.cost.stall import StallCurve
from ppdsim.engines import ENGINES
from ppdsim.transport.handoff import HandoffCurve
from ppdsim.transport.wire import WireCurve
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport

ENGINE = ENGINES["sglang"].record("0.5.17")
PREFILL = PrefillCurve(
    floor_s=8e-3,
    token_s=20e-6,
    attention_s_per_token2=1e-9,
    kv_read_s_per_token=30e-9,
    overlap_sharpness=3.0,
    wave_tokens=528.0,
    prepare_s=3e-3,
    further_share=0.04,
    graph_sizes_tokens=ENGINE.prefill_graph_sizes_tokens,
)
DECODE = DecodeCurve(
    floor_s=5e-3, row_s=12e-6, context_s_per_token=30e-9, start_s=0.5e-3, graph_sizes=ENGINE.decode_graph_sizes
)
STALL = StallCurve(launch_s=10e-3, handoff_s=0.0)
FRONTEND = FrontendCurve(in_s=3e-3, in_s_per_token=0.2e-6, out_s=1e-3)
HANDOFF = HandoffCurve(
    handshake_s=8e-3,
    prefix_s=6e-3,
    wire_s_per_token=70e-6,
    fresh_wire_s_per_token=20e-6,
    early_share=1.0,
    join_s=1e-3,
    send_s=2e-3,
    beside_send_s=1.5e-3,
    request_result_s=1e-3,
)
WIRE = WireCurve(call_s=2e-4, block_s=2e-5, byte_s=4e-10)


@dataclass(frozen=True)
class Case:
    """A curve and its seconds for (new tokens or streams, context tokens)."""

    curve: AbstractCurve
    seconds: Callable[[Quantity, Quantity], Quantity]


FACTS: dict[str, dict[str, tuple[int, ...]]] = {
    "prefill": {"graph_sizes_tokens": ENGINE.prefill_graph_sizes_tokens},
    "decode": {"graph_sizes": ENGINE.decode_graph_sizes},
}
"""What a curve takes from the engine."""
CASES: dict[str, Case] = {
    "prefill": Case(PREFILL, lambda m, c: PREFILL.seconds(m, c, 8192)),
    # What every one of `m` streams holds: at the same total, fewer streams may leave more of a padded batch idle.
    "decode": Case(DECODE, lambda m, c: DECODE.step_s(m, m * c)),
    "stall": Case(STALL, lambda m, c: STALL.append_s(PREFILL.seconds(m, c, 8192), 6e-3)),
    "frontend": Case(FRONTEND, lambda m, c: FRONTEND.before_s(m + c) + FRONTEND.after_s()),
    "transfer": Case(WIRE, WIRE.seconds),
    "handoff": Case(HANDOFF, lambda m, c: HANDOFF.before_s(c) + HANDOFF.wire_s(m, 0.0) + HANDOFF.after_s()),
}


def turn_model(**changes: object) -> TurnModel:
    """Return a model of the curves above, with one hand-off an arm and transport."""
    parts: dict[str, object] = {
        "prefill": PREFILL,
        "decode": DECODE,
        "stall": STALL,
        "frontend": FRONTEND,
        "handoffs": {(Arm.P_FULL, Transport.TCP): HANDOFF, (Arm.P_DELTA, Transport.TCP): HANDOFF},
        "chunked_prefill_size": 8192,
        "page_size_tokens": 64,
        "kv_bytes_per_token": 131072,
        "engine": ENGINE,
        **changes,
    }
    return TurnModel(**parts)  # type: ignore[arg-type]
