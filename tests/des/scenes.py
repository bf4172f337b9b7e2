"""Random small scenes for properties: any roles, tight memory, several turns, every policy, both kinds of prefix."""

from __future__ import annotations

from typing import Any

from des.costs import cost_model, fleet, talk
from hypothesis import strategies as st

from ppdsim.des.spec import ClusterSpec, Preload
from ppdsim.routing import BALANCERS, POLICIES, PolicyContext, build_policy
from ppdsim.routing.base import AbstractPolicy
from ppdsim.turn import TurnModel
from ppdsim.workload.base import BLOCK_TOKENS, Conversation, TurnSpec

FLEETS = ("U", "U U", "P D", "P pD", "P P D", "P pD pD", "P D D", "P P pD D U")
POOLS_TOKENS = (600, 600, 900, 900, 1500, 3000, 100_000)


def _draw_fleet(draw: Any, model: TurnModel, pools: tuple[int, ...]) -> tuple[ClusterSpec, AbstractPolicy]:
    roles = draw(st.sampled_from(FLEETS))
    spec = fleet(
        roles,
        model,
        pool=draw(st.sampled_from(pools)),
        nic=draw(st.sampled_from([None, "one"])),
        disaggregation_decode_enable_radix_cache=draw(st.booleans()),
        num_reserved_decode_tokens=draw(st.sampled_from([0, 16, 64])),
        schedule_conservativeness=draw(st.sampled_from([0.0, 0.3, 1.0, 2.0])),
        enable_mixed_chunk=draw(st.booleans()),
        overlap_schedule=draw(st.booleans()),
        residents=draw(st.sampled_from([0, 0, 3])) if len(roles) <= 4 else 0,
        resident_context_tokens=40,
        max_running_requests=draw(st.sampled_from([3, 100, 2048])),
        disaggregation_decode_extra_slots=draw(st.sampled_from([None, 0, 2])),
        disaggregation_bootstrap_timeout_s=draw(st.sampled_from([0.0625, 0.25, 300.0])),
        disaggregation_waiting_timeout_s=draw(st.sampled_from([0.0625, 0.25, 300.0, 300.0, 300.0])),
        max_prefill_tokens=draw(st.sampled_from([64, 16_384])),
        **(_draw_balancing(draw) if draw(st.integers(0, 3)) == 3 else {}),
    )
    context = PolicyContext(fleet=spec.fleet_model, gamma=1.0, plan=frozenset({("1", 1), ("0", 2)}))
    name = draw(st.sampled_from([*POLICIES]))
    parameters = {"threshold_tokens": 60} if name == "threshold" else {}
    return spec, build_policy(name, parameters, context)


def _draw_balancing(draw: Any) -> dict[str, Any]:
    """Draw how nodes of a role are picked; caps thin the load out, so most scenes have none of this."""
    return {
        "prefill_policy": draw(st.sampled_from([None, *BALANCERS])),
        "decode_policy": draw(st.sampled_from([None, *BALANCERS])),
        "sticky_sessions": draw(st.booleans()),
        "client_max_conversations": draw(st.sampled_from([None, None, 2])),
        "frontend_max_conversations": draw(st.sampled_from([None, None, 3])),
    }


def _draw_model(draw: Any) -> TurnModel:
    return cost_model(
        chunk=draw(st.sampled_from([64, 128, 512])),
        page=draw(st.sampled_from([1, 4, 16])),
        stall={"handoff_s": draw(st.sampled_from([0.0, 0.002]))},
        link={
            "wire_s_per_token": draw(st.sampled_from([1e-6, 1e-4])),
            "early_share": draw(st.sampled_from([0.0, 0.5, 1.0])),
            "send_s": draw(st.sampled_from([0.0, 0.01])),
            "beside_send_s": draw(st.sampled_from([0.0, 0.006])),
            "request_result_s": draw(st.sampled_from([0.0, 0.003])),
        },
    )


@st.composite
def scenes(draw: Any) -> tuple[ClusterSpec, list[Conversation], AbstractPolicy]:
    """Draw (fleet, conversations, policy)."""
    spec, policy = _draw_fleet(draw, _draw_model(draw), POOLS_TOKENS)
    gap = draw(st.sampled_from([0.005, 0.05, 0.5]))
    longest, answer = draw(st.sampled_from([40, 400, 900])), draw(st.sampled_from([5, 60, 200, 200]))
    turn = st.tuples(st.integers(1, longest), st.integers(1, answer), st.floats(0.0, 0.3))
    talks = draw(
        st.lists(st.tuples(st.floats(0.0, 1.0), st.lists(turn, min_size=1, max_size=4)), min_size=2, max_size=16)
    )
    time, conversations = 0.0, []
    for number, (wait, turns) in enumerate(talks):
        time += gap * wait
        conversations.append(talk(number, time, *turns))
    return spec, conversations, policy


@st.composite
def preloads(draw: Any) -> Preload:
    """Draw the KV that first turns find in place."""
    cached = draw(st.integers(1, 600))
    return Preload(cached_tokens=cached, prefill_cached_tokens=draw(st.sampled_from([0, cached // 2, cached])))


@st.composite
def block_scenes(draw: Any) -> tuple[ClusterSpec, list[Conversation], AbstractPolicy]:
    """Draw (fleet, requests, policy) whose prefixes are blocks that requests share.

    Some requests are later turns of a conversation, sent at their own times, whether its answers have ended or not.
    """
    spec, policy = _draw_fleet(draw, _draw_model(draw), (4_000, 8_000, 100_000))
    families = st.tuples(st.integers(0, 2), st.integers(0, 5))  # which common text, and how many of its blocks
    talks = st.integers(0, 6)
    wanted = st.tuples(st.floats(0.0, 0.2), families, st.integers(1, 3000), st.integers(1, 80), talks)
    time = 0.0
    turns: dict[int, list[TurnSpec]] = {}
    starts_s: dict[int, float] = {}
    asked = draw(st.lists(wanted, min_size=1, max_size=15))
    for number, (wait, (family, shared), tokens, output, named) in enumerate(asked):
        time += wait
        own = range(1000 * (number + 1), 1000 * (number + 2))
        ids = (*range(100 * family, 100 * family + shared), *own)[: -(-tokens // BLOCK_TOKENS)]
        first = named not in starts_s
        starts_s.setdefault(named, time)
        turns.setdefault(named, []).append(
            TurnSpec(new_tokens=tokens, output_tokens=output, arrival_s=None if first else time, block_ids=ids)
        )
    requests = [
        Conversation(conversation_id=named, arrival_s=starts_s[named], turns=tuple(specs))
        for named, specs in turns.items()
    ]
    return spec, requests, policy


@st.composite
def tied_scenes(draw: Any) -> tuple[ClusterSpec, list[Conversation], AbstractPolicy]:
    """Draw a scene in which every time is a multiple of a power of two, so that events meet at the same instant."""
    tick = 2.0**-8

    def ticks(*counts: int) -> float:
        return tick * draw(st.sampled_from(counts))

    model = cost_model(
        chunk=draw(st.sampled_from([64, 512])),
        page=draw(st.sampled_from([1, 16])),
        prefill={
            "floor_s": ticks(1, 2, 4),
            "token_s": draw(st.sampled_from([0.0, 2.0**-14])),
            "attention_s_per_token2": 0.0,
            "kv_read_s_per_token": 0.0,
        },
        decode={
            "floor_s": ticks(1, 2),
            "row_s": draw(st.sampled_from([0.0, 2.0**-10])),
            # A step of a padded batch takes pad / batch of it: 45,045 keeps that exact for up to 16 streams.
            "context_s_per_token": draw(st.sampled_from([0.0, 45_045 * 2.0**-34])),
            "start_s": ticks(0, 1),
        },
        stall={"launch_s": ticks(0, 1, 4), "handoff_s": ticks(0, 1)},
        frontend={"in_s": ticks(1, 2), "in_s_per_token": 0.0, "out_s": ticks(1, 2)},
        link={
            "handshake_s": ticks(1, 2),
            "prefix_s": 0.0,
            "wire_s_per_token": draw(st.sampled_from([0.0, 2.0**-16])),
            "fresh_wire_s_per_token": 0.0,
            "join_s": ticks(1, 2),
            "send_s": ticks(0, 1, 4),
            "beside_send_s": ticks(0, 1),
            "request_result_s": ticks(0, 1),
        },
    )
    spec, policy = _draw_fleet(draw, model, POOLS_TOKENS)
    time, conversations = 0.0, []
    turn = st.tuples(
        st.sampled_from([16, 32, 64, 100, 300]), st.integers(1, 40), st.sampled_from([0.0, tick, 2 * tick, 16 * tick])
    )
    gaps = st.sampled_from([0, 0, 1, 2, 8])
    talks = st.lists(st.tuples(gaps, st.lists(turn, min_size=1, max_size=4)), min_size=2, max_size=10)
    for number, (gap, turns) in enumerate(draw(talks)):
        time += tick * gap
        conversations.append(talk(number, time, *turns))
    return spec, conversations, policy
