"""A small cost model with round numbers, and fleets made of it, for tests of the simulator.

With `overlap_sharpness` 1 a forward is the plain sum of its floor and its work. Most numbers are powers of two, so that
sums of few of them are exact and ties are ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curve_cases import ENGINE, FACTS

from ppdsim.cost.decode import DecodeCurve
from ppdsim.cost.frontend import FrontendCurve
from ppdsim.cost.prefill import ONE_WAVE_TOKENS, PrefillCurve
from ppdsim.cost.stall import StallCurve
from ppdsim.des.spec import ClusterSpec, NodeSpec
from ppdsim.engines import ENGINES
from ppdsim.engines.sglang.scheduler import SCHEDULER
from ppdsim.transport.handoff import HandoffCurve
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, NodeRole, Transport
from ppdsim.workload.base import Conversation, TurnSpec

SGLANG = ENGINES["sglang"]


def handoff(**changes: float) -> HandoffCurve:
    values = {
        "handshake_s": 0.004,
        "prefix_s": 0.002,
        "wire_s_per_token": 2.0**-20,
        "fresh_wire_s_per_token": 2.0**-22,
        "early_share": 0.75,
        "join_s": 0.001,
        "send_s": 0.0,
        "beside_send_s": 0.0,
        "request_result_s": 0.0,
    }
    return HandoffCurve.from_values({**values, **changes})


def cost_model(
    *,
    prefill: dict[str, float] | None = None,
    decode: dict[str, float] | None = None,
    stall: dict[str, float] | None = None,
    frontend: dict[str, float] | None = None,
    link: dict[str, float] | None = None,
    chunk: int = 512,
    page: int = 16,
) -> TurnModel:
    """Return a cost model; each argument overrides parameters of one curve."""
    prefill_values = {
        "floor_s": 2.0**-7,
        "token_s": 2.0**-14,
        "attention_s_per_token2": 2.0**-27,
        "kv_read_s_per_token": 2.0**-23,
        "overlap_sharpness": 1.0,
        "wave_tokens": ONE_WAVE_TOKENS,
        "further_share": 2.0**-4,
    }
    # The whole launch hides behind a step.
    prefill_values["prepare_s"] = {**prefill_values, **(prefill or {})}["floor_s"]
    decode_values = {
        "floor_s": 2.0**-8,
        "row_s": 2.0**-13,
        "context_s_per_token": 2.0**-23,
        "start_s": 2.0**-11,
    }
    curve = handoff(**(link or {}))
    return TurnModel(
        prefill=PrefillCurve.from_values({**prefill_values, **(prefill or {})}, **FACTS["prefill"]),
        decode=DecodeCurve.from_values({**decode_values, **(decode or {})}, **FACTS["decode"]),
        stall=StallCurve.from_values({"launch_s": 2.0**-7, "handoff_s": 0.0, **(stall or {})}),
        frontend=FrontendCurve.from_values({"in_s": 0.002, "in_s_per_token": 1e-7, "out_s": 0.001, **(frontend or {})}),
        handoffs={(arm, Transport.TCP): curve for arm in (Arm.P_FULL, Arm.P_DELTA)},
        chunked_prefill_size=chunk,
        page_size_tokens=page,
        kv_bytes_per_token=131_072,
        engine=ENGINE,
    )


def fleet(roles: str, model: TurnModel, *, pool: int = 100_000, nic: str | None = None, **knobs: Any) -> ClusterSpec:
    """Return the fleet of space-separated `roles`, such as ``"P pD"``; over TCP where there is a P.

    `knobs` are fields of `ClusterSpec`, flags of SGLang, or `overlap_schedule`.
    """
    if "overlap_schedule" in knobs:
        knobs["disable_overlap_schedule"] = not knobs.pop("overlap_schedule")
    flags = {name: value for name in SGLANG.flags if (value := knobs.pop(name, None)) is not None}
    model = SGLANG.as_run(model, flags)
    nodes = tuple(
        NodeSpec(role=NodeRole(role), model=model, kv_pool_tokens=pool, nic=nic if role == "P" else None)
        for role in roles.split()
    )
    transport = Transport.TCP if "P" in roles.split() else Transport.NONE
    return ClusterSpec(nodes=nodes, scheduler=SCHEDULER, **{**SGLANG.knobs(flags), "transport": transport, **knobs})


def talk(identity: int | str, arrival_s: float, *turns: Sequence[float]) -> Conversation:
    """Return a conversation of (new tokens, output tokens[, think time]) turns."""
    specs = tuple(
        TurnSpec(new_tokens=int(new), output_tokens=int(output), think_s=rest[0] if rest else 0.0)
        for new, output, *rest in turns
    )
    return Conversation(conversation_id=identity, arrival_s=arrival_s, turns=specs)
