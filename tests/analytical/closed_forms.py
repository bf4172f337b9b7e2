"""A model of constants only, for which model.md, "The decision" has closed forms: a, alpha, kappa / B_link, no more."""

from __future__ import annotations

from curve_cases import ENGINE, FACTS

from ppdsim.cost.decode import DecodeCurve
from ppdsim.cost.frontend import FrontendCurve
from ppdsim.cost.prefill import ONE_WAVE_TOKENS, PrefillCurve
from ppdsim.cost.stall import StallCurve
from ppdsim.transport.handoff import HandoffCurve
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport

A = 20e-6  # seconds a new token
ALPHA = 12e-3  # fixed part of a hand-off [s]
WIRE = 5e-6  # kappa / B_link [s/token]
L_STAR = 400_000.0  # context at which attention equals the linear term [tokens]; long, so that m* is above 8192


def constants(*, attention: bool = False, wire_s_per_token: float = WIRE, alpha_s: float = ALPHA) -> TurnModel:
    handoff = HandoffCurve(
        handshake_s=alpha_s,
        prefix_s=0.0,
        wire_s_per_token=wire_s_per_token,
        fresh_wire_s_per_token=0.0,
        early_share=0.0,
        join_s=0.0,
        send_s=0.0,
        beside_send_s=0.0,
        request_result_s=0.0,
    )
    return TurnModel(
        prefill=PrefillCurve(
            floor_s=0.0,
            token_s=A,
            attention_s_per_token2=A / L_STAR if attention else 0.0,
            kv_read_s_per_token=0.0,
            overlap_sharpness=1.0,
            prepare_s=0.0,
            further_share=0.0,
            wave_tokens=ONE_WAVE_TOKENS,
            **FACTS["prefill"],
        ),
        decode=DecodeCurve(floor_s=5e-3, row_s=0.0, context_s_per_token=0.0, start_s=0.0, **FACTS["decode"]),
        stall=StallCurve(launch_s=0.0, handoff_s=0.0),
        frontend=FrontendCurve(in_s=0.0, in_s_per_token=0.0, out_s=0.0),
        handoffs={(arm, Transport.TCP): handoff for arm in (Arm.P_FULL, Arm.P_DELTA)},
        # Above the largest captured graph size the cost has no staircase, and one chunk holds every prompt.
        chunked_prefill_size=10**6,
        page_size_tokens=1,
        kv_bytes_per_token=131_072,
        engine=ENGINE,
    )
