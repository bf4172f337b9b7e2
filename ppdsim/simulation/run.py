"""Run a scenario: names become numbers, the fleet runs, the results say where they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim import __version__, profile
from ppdsim.des.cluster import run_cluster
from ppdsim.des.recorder import Labels
from ppdsim.des.timeline import Timeline
from ppdsim.errors import WorkloadError
from ppdsim.metrics import SloLimits
from ppdsim.results import Results
from ppdsim.routing import ALWAYS_P, AbstractPolicy, DecisionLog, FleetModel, PolicyContext, build_policy
from ppdsim.scenario import Scenario
from ppdsim.scenario.keys import Command
from ppdsim.setup import resolve
from ppdsim.types import Arm, Transport
from ppdsim.workload import Conversation, Conversations

EARLY_SEND = "disagg_prefill_early_send_cached_prefix"


def simulate(
    scenario: Scenario,
    *,
    seed: int,
    command: Command = Command.SIMULATE,
    decisions: bool = False,
    plan: frozenset[tuple[str, int]] | None = None,
    conversations: Conversations | None = None,
    timeline: Timeline | None = None,
) -> Results:
    """Run a scenario's workload through its fleet.

    Parameters
    ----------
    command : Command
        What plays the scenario; it decides which keys are read.
    conversations : Conversations or None
        What `conversations_of` yields for this seed, if the caller has it.
    decisions : bool
        Log each decision with what the other arm would have cost.
    plan : frozenset or None
        What the policy ``oracle`` replays.
    timeline : Timeline or None
        Filled with what each node and link did when (`ppdsim.des.chrome_trace` writes it).

    Raises
    ------
    InputError
        If a profile, the policy, or the workload cannot be used, or something that was set for this call is not read;
        nothing has been simulated by then.
    """
    setup = resolve(scenario, command, logs_decisions=decisions)
    spec, profiles = setup.cluster(seed=seed), setup.profiles
    routing = scenario.routing
    fleet = spec.fleet_model
    policy = policy_of(scenario, fleet, plan)
    if conversations is None:
        conversations = conversations_of(scenario, seed)
    log = DecisionLog(fleet, routing.gamma) if decisions else None
    roles = Counter(node.role.value for node in spec.nodes)
    labels = Labels(
        run_id=f"{scenario.name}-{seed}",
        seed=seed,
        limits=SloLimits(ttft_s=scenario.slo.ttft_s, tpot_s=scenario.slo.tpot_s, itl_max_s=scenario.slo.itl_max_s),
        outside=lambda turns: outside_domain(turns, profiles, assumed_link=scenario.link_bytes_per_s is not None),
        policy="" if routing.policy == ALWAYS_P else routing.policy,
        notes=(*setup.notes, *conversations.notes),
        unread_keys=setup.unread_keys,
        decisions=None if log is None else log.columns,
        provenance={
            "ppdsim": __version__,
            "scenario": scenario.name,
            "question": scenario.question,
            "profiles": sorted({found.id for found in profiles}),
            "fleet": "_".join(f"{count}{role}" for role, count in roles.items()),
            "transport": spec.transport.value,
            "link_bytes_per_s": scenario.link_bytes_per_s,
            "disaggregation_decode_enable_radix_cache": spec.disaggregation_decode_enable_radix_cache,
            "engine": None if scenario.engine is None else scenario.engine.title,
            EARLY_SEND: setup.requested.flags.get(EARLY_SEND, True),
            "policy": routing.policy,
            "policy_parameters": dict(routing.parameters),
            "gamma": routing.gamma,
            "seed": seed,
            "per_step": spec.per_step,
        },
    )
    return run_cluster(
        spec,
        conversations,
        policy,
        labels=labels,
        log=log,
        timeline=timeline,
        refuse_oversized=scenario.oversized_turns == "refuse",
    )


def policy_of(scenario: Scenario, fleet: FleetModel, plan: frozenset[tuple[str, int]] | None = None) -> AbstractPolicy:
    """Return the routing policy of a scenario, which reckons with the costs of `fleet`.

    Raises
    ------
    InputError
        If the policy or one of its parameters cannot be used.
    """
    routing = scenario.routing
    context = PolicyContext(
        fleet=fleet,
        gamma=routing.gamma,
        itl_budget_s=scenario.slo.itl_max_s,
        plan=plan,
    )
    return build_policy(routing.policy, routing.parameters, context)


def conversations_of(scenario: Scenario, seed: int) -> Conversations:
    """Return the conversations of a scenario's workload, which the seed alone decides; readable once.

    Raises
    ------
    InputError
        If the workload is missing, malformed or empty.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    drawn = scenario.build_workload().conversations(rng)
    return replace(drawn, found=_at_least_one(drawn, scenario.name))


def _at_least_one(conversations: Conversations, name: str) -> Iterator[Conversation]:
    conversation = None
    for conversation in conversations:
        yield conversation
    if conversation is None:
        raise WorkloadError(f"scenario '{name}': the workload has no conversation")


def outside_domain(
    turns: Mapping[str, NDArray[Any]], profiles: tuple[profile.Profile, ...], *, assumed_link: bool = False
) -> NDArray[np.bool_]:
    """Return which turns lie outside what the profile of the node that prefills was measured on.

    The prefill curve is asked about what its node has cached and computes, a hand-off about what the decode machine
    keeps and lacks; an unmeasured curve is outside throughout, as is a hand-off over an assumed link or between two
    profiles.
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
                if any(other.id != found.id for other in profiles):
                    receivers = np.array([other.id for other in profiles])[turns["decode_node"]]
                    outside |= rows & (receivers != found.id)
            for record, columns in asked:
                if record.tag.unmeasured or (assumed_link and record.arm is not None):
                    outside |= rows
                for name in computed:
                    low, high = record.domain.get(name, (-np.inf, np.inf))
                    outside |= rows & ((columns[name] < low) | (columns[name] > high))
    return outside
