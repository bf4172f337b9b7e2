"""Run a scenario: names become numbers, the fleet runs, the results say where they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim import __version__, compose, library, profile
from ppdsim.des.cluster import run_cluster
from ppdsim.des.recorder import Labels
from ppdsim.des.spec import DECODE_ROLES, ClusterSpec, NodeSpec
from ppdsim.errors import WorkloadError
from ppdsim.metrics import SloLimits
from ppdsim.results import Results
from ppdsim.routing import DecisionLog, PolicyContext, build_policy
from ppdsim.scenario import Scenario
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport
from ppdsim.workload import Conversation

KNOBS = (
    "page_size_tokens",
    "chunked_prefill_size",
    "max_prefill_tokens",
    "max_running_requests",
    "num_reserved_decode_tokens",
    "disaggregation_decode_extra_slots",
    "bootstrap_timeout_s",
)
"""Engine knobs that a scenario may set; `ClusterSpec` knows what they are otherwise."""


def resolve(scenario: Scenario, *, seed: int = 0) -> tuple[ClusterSpec, tuple[profile.Profile, ...]]:
    """Return the fleet of a scenario, and the profile of each of its nodes.

    Raises
    ------
    InputError
        If a profile is missing or malformed, or lacks a hand-off that the fleet needs.
    """
    nodes: list[NodeSpec] = []
    profiles: list[profile.Profile] = []
    loaded: dict[str, tuple[profile.Profile, TurnModel]] = {}
    for group in scenario.fleet:
        name = group.profile or scenario.profile
        if name not in loaded:
            record = profile.load(library.find("profile", name))
            curves = compose.central(record)
            loaded[name] = record, curves if scenario.sends_prefix_early else curves.without_early_send()
        found, model = loaded[name]
        node = NodeSpec(
            role=group.role,
            model=model,
            kv_pool_tokens=group.kv_pool_tokens or found.kv_pool_tokens,
            nic=group.nic,
        )
        nodes += [node] * group.count
        profiles += [found] * group.count
    knobs = {knob: value for knob in KNOBS if (value := getattr(scenario, knob)) is not None}
    spec = ClusterSpec(
        nodes=tuple(nodes),
        transport=scenario.transport,
        decode_radix=scenario.decode_radix,
        per_step=scenario.per_step,
        prefill_policy=scenario.routing.prefill_policy,
        decode_policy=scenario.routing.decode_policy,
        sticky_sessions=scenario.routing.sticky_sessions,
        client_max_conversations=scenario.routing.client_max_conversations,
        frontend_max_conversations=scenario.routing.frontend_max_conversations,
        router_seed=seed,
        **knobs,
    )
    return spec, tuple(profiles)


def simulate(
    scenario: Scenario,
    *,
    seed: int,
    decisions: bool = False,
    plan: frozenset[tuple[str, int]] | None = None,
) -> Results:
    """Run a scenario's workload through its fleet.

    Parameters
    ----------
    decisions : bool
        Log each decision with what the other arm would have cost.
    plan : frozenset or None
        What the policy ``oracle`` replays.

    Raises
    ------
    InputError
        If a profile, the policy, or the workload cannot be used; nothing has been simulated by then.
    """
    spec, profiles = resolve(scenario, seed=seed)
    routing = scenario.routing
    context = PolicyContext(
        model=spec.nodes[0].model,
        transport=spec.transport,
        gamma=routing.gamma,
        itl_budget_s=scenario.slo.itl_max_s,
        plan=plan,
    )
    policy = build_policy(routing.policy, routing.parameters, context)
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    conversations = _checked(scenario.name, spec, scenario.build_workload().conversations(rng))
    log = DecisionLog([node.model for node in spec.nodes], spec.transport, routing.gamma) if decisions else None
    roles = Counter(node.role.value for node in spec.nodes)
    labels = Labels(
        run_id=f"{scenario.name}-{seed}",
        seed=seed,
        limits=SloLimits(ttft_s=scenario.slo.ttft_s, tpot_s=scenario.slo.tpot_s, itl_max_s=scenario.slo.itl_max_s),
        outside=lambda turns: outside_domain(turns, profiles),
        decisions=None if log is None else log.columns,
        notes=tuple(sorted({f"profile {p.id} is {p.derivation}" for p in profiles if p.derivation is not None})),
        provenance={
            "ppdsim": __version__,
            "scenario": scenario.name,
            "question": scenario.question,
            "profiles": sorted({found.id for found in profiles}),
            "fleet": "_".join(f"{count}{role}" for role, count in roles.items()),
            "transport": spec.transport.value,
            "decode_radix": spec.decode_radix,
            "engine": scenario.engine,
            "early_send_cached_prefix": scenario.sends_prefix_early,
            "policy": routing.policy,
            "policy_parameters": dict(routing.parameters),
            "gamma": routing.gamma,
            "seed": seed,
            "per_step": spec.per_step,
        },
    )
    return run_cluster(spec, conversations, policy, labels=labels, log=log)


def _checked(scenario: str, spec: ClusterSpec, conversations: Iterable[Conversation]) -> Iterator[Conversation]:
    """Hand conversations on, and refuse a workload with none, or with a turn that no node can ever hold.

    All of them are read before anything runs.
    """
    largest = max(node.kv_pool_tokens for node in spec.nodes if node.role in DECODE_ROLES)
    conversation = None
    for conversation in conversations:
        context = 0
        for number, turn in enumerate(conversation.turns):
            # A turn with block ids is its whole prompt.
            context = turn.new_tokens + turn.output_tokens + (0 if turn.block_ids is not None else context)
            if context > largest:
                raise WorkloadError(
                    f"conversation {conversation.conversation_id}, turn {number} needs {context} tokens of KV; the "
                    f"largest KV pool of the fleet holds {largest} (shorten it, or --set fleet.0.kv_pool_tokens=...)"
                )
        yield conversation
    if conversation is None:
        raise WorkloadError(f"scenario '{scenario}': the workload has no conversation")


def outside_domain(turns: Mapping[str, NDArray[Any]], profiles: tuple[profile.Profile, ...]) -> NDArray[np.bool_]:
    """Return which turns lie outside what the profile of the node that prefills was measured on.

    The prefill curve is asked about what its node has cached and computes, a hand-off about what the decode machine
    keeps and lacks; a curve that nobody measured is outside throughout.
    """
    outside = np.zeros(len(turns["turn"]), dtype=np.bool_)
    on_prefill, arms = turns["prefill_cached_tokens"], turns["arm"]
    computed = {"cached_tokens": on_prefill, "new_tokens": turns["input_tokens"] - on_prefill}
    for node, found in enumerate(profiles):
        here = turns["prefill_node"] == node
        for arm in Arm:
            rows = here & (arms == arm.value)
            if not rows.any():
                continue
            asked: list[tuple[profile.CurveRecord, Mapping[str, NDArray[Any]]]] = [(found.curve("prefill"), computed)]
            if arm is not Arm.APPEND_D:
                transport = Transport(str(turns["transport"][np.argmax(rows)]))
                asked.append((found.curve("handoff", arm, transport), turns))
            for record, columns in asked:
                if record.tag.unmeasured:
                    outside |= rows
                for name in computed:
                    low, high = record.domain.get(name, (-np.inf, np.inf))
                    outside |= rows & ((columns[name] < low) | (columns[name] > high))
    return outside
