"""What the simulator runs on: nodes, link and engine knobs, resolved to numbers. No names, no files.

Engine knobs have the names of SGLang's flags; their values come from the engine's folder (`AbstractEngine.knobs`). How
a node forms steps, and whether its scheduler overlaps, its engine record says (`TurnModel.engine`). What the knobs do
here, and where the simulator is simpler than the engine: docs/design/simulator.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ppdsim.des.scheduler import Scheduler
from ppdsim.errors import ScenarioError
from ppdsim.routing.fleet_model import FleetModel
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, NodeRole, Transport

DECODE_ROLES = (NodeRole.D, NodeRole.PD, NodeRole.U)
APPEND_ROLES = (NodeRole.PD, NodeRole.U)
HANDOFF_ROLES = (NodeRole.D, NodeRole.PD)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """One machine: what it does, what its work costs, how much KV it holds [tokens].

    P nodes with the same `nic` send through one NIC; without one, every pair of a P and a D has a link of its own.
    """

    role: NodeRole
    model: TurnModel
    kv_pool_tokens: int
    nic: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preload:
    """KV that a conversation's first turn finds in place: `cached_tokens` on D, `prefill_cached_tokens` on every P.

    Taken as given, not floored to pages. The turn's prompt is ``cached_tokens`` plus its new tokens, and it may be
    appended on D like any later turn.
    """

    cached_tokens: int
    prefill_cached_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """A fleet and its knobs.

    Attributes
    ----------
    scheduler : Scheduler
        What the engine decides at each step.
    transport : Transport
        What the KV of a hand-off travels over; every pair of a P and a D has a FIFO link of its own.
    disaggregation_decode_enable_radix_cache : bool
        Decode machines keep prompts and answers, and a hand-off sends what they lack (arm p-delta).
    num_reserved_decode_tokens : int
        Room that admission on D and pD keeps free for each admitted turn [tokens].
    schedule_conservativeness : float
        How much of what the running answers may still need a U keeps free at admission [1].
    disaggregation_decode_extra_slots : int
        Hand-offs that may be in transfer beyond `max_running_requests`.
    disaggregation_bootstrap_timeout_s : float
        Longest wait of a hand-off for its pages on D; then it fails [s].
    disaggregation_waiting_timeout_s : float
        Longest wait of a hand-off from its pages to its KV; then it fails [s].
    router_awaits_prefill : bool
        The router hands no token on before P has answered its own request, as sglang-router does and its mini-lb not.
    residents, resident_context_tokens : int
        Streams that decode indefinitely on every decode node, and the constant KV of each [tokens].
    prefill_policy, decode_policy : str or None
        Load balancer of a role (`ppdsim.routing.balance`). None: the P with much of the prompt, else the least loaded.
    sticky_sessions : bool
        A conversation returns to the decode node that keeps its prefix.
    client_max_conversations, frontend_max_conversations : int or None
        Conversations under way at once: the client sends the next one when one has ended; the front end lets it wait.
    router_seed : int
        Seed of the load balancers' random picks.
    context_tokens : int or None
        Longest prompt that the model takes; a longer one is as impossible as one that no KV pool holds [tokens].
    per_step : bool
        One event per engine step: slower, the same times; the oracle of the closed form.
    stop_when_overloaded : bool
        Give a run up whose backlog has outgrown what it has served (`ppdsim.des.overload`).
    until_s : float
        End of the run; turns that are not done by then are unfinished [s].
    """

    nodes: tuple[NodeSpec, ...]
    scheduler: Scheduler
    disaggregation_decode_enable_radix_cache: bool
    max_prefill_tokens: int
    max_running_requests: int
    num_reserved_decode_tokens: int
    schedule_conservativeness: float
    disaggregation_decode_extra_slots: int
    disaggregation_bootstrap_timeout_s: float
    disaggregation_waiting_timeout_s: float
    transport: Transport = Transport.NONE
    router_awaits_prefill: bool = True
    residents: int = 0
    resident_context_tokens: int = 0
    prefill_policy: str | None = None
    decode_policy: str | None = None
    sticky_sessions: bool = True
    client_max_conversations: int | None = None
    frontend_max_conversations: int | None = None
    router_seed: int = 0
    context_tokens: int | None = None
    per_step: bool = False
    stop_when_overloaded: bool = False
    until_s: float = math.inf

    def __post_init__(self) -> None:
        roles = {node.role for node in self.nodes}
        if not roles & set(DECODE_ROLES):
            raise ScenarioError("fleet: no D, pD or U node, so nothing decodes")
        if (NodeRole.P in roles) != bool(roles & set(HANDOFF_ROLES)):
            raise ScenarioError("fleet: P nodes need a D or pD node to hand over to, and D and pD nodes need a P node")
        if NodeRole.P in roles and self.transport is Transport.NONE:
            raise ScenarioError("transport: given none, expected nvlink, tcp or rdma, because P nodes hand over KV")
        for node in self.nodes:
            chunk, page = node.model.chunked_prefill_size, node.model.page_size_tokens
            if chunk % page:
                raise ScenarioError(f"chunked_prefill_size {chunk} is no multiple of page_size {page}")

    @property
    def handoff_arm(self) -> Arm:
        """Return the arm of a turn that P prefills."""
        return Arm.P_DELTA if self.disaggregation_decode_enable_radix_cache else Arm.P_FULL

    @property
    def fleet_model(self) -> FleetModel:
        """Return what policies reckon with: each node's curves and rules."""
        return FleetModel(nodes=tuple(node.model for node in self.nodes), transport=self.transport)

    def keeps_prefixes(self, node: NodeSpec) -> bool:
        """Return whether a decode node keeps the KV of a turn that has ended."""
        return node.role in APPEND_ROLES or self.disaggregation_decode_enable_radix_cache
