"""The router: it asks the policy, has a load balancer pick nodes where one is set, and keeps the books.

Loads are counted from decision to last
token. A conversation's home is the decode node that its last turn went to, where that node keeps prefixes.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable

import numpy as np

from ppdsim.des.decode_node import AbstractDecodeNode
from ppdsim.des.live_view import RATE_WINDOW_S, LiveView
from ppdsim.des.prefill_node import AbstractPrefillNode
from ppdsim.des.spec import ClusterSpec
from ppdsim.des.turns import Turns
from ppdsim.routing.balance import BALANCERS, Balancer, Candidates
from ppdsim.routing.base import AbstractPolicy, Decision
from ppdsim.routing.decision_log import DecisionLog
from ppdsim.routing.view import NOWHERE, Request
from ppdsim.types import Arm, NodeRole


class Router:
    """Asks the policy and keeps the books."""

    __slots__ = (
        "_log",
        "_new_tokens",
        "_numbers",
        "_picked",
        "_policy",
        "_rng",
        "_slot",
        "_view",
        "balance_decode",
        "balance_prefill",
        "context_tokens",
        "decode",
        "decode_index",
        "decode_loads",
        "handoff_arm",
        "home",
        "kv_pool_tokens",
        "last_decode",
        "last_prefill",
        "prefill",
        "prefill_index",
        "prefill_loads",
        "recent",
        "roles",
        "sticky",
        "turns",
        "waiting_tokens",
    )

    def __init__(
        self,
        turns: Turns,
        spec: ClusterSpec,
        policy: AbstractPolicy,
        prefill: dict[int, AbstractPrefillNode],
        decode: dict[int, AbstractDecodeNode],
        log: DecisionLog | None = None,
    ) -> None:
        self.turns = turns
        self.prefill, self.decode = prefill, decode
        self.prefill_index, self.decode_index = list(prefill), list(decode)
        self._slot = {node: i for index in (self.prefill_index, self.decode_index) for i, node in enumerate(index)}
        self.prefill_loads, self.decode_loads = [0] * len(prefill), [0] * len(decode)
        self.roles = [node.role for node in spec.nodes]
        self.handoff_arm = spec.handoff_arm
        self.home = array("l", [NOWHERE]) * len(turns.ids)
        self.last_prefill = array("l", [NOWHERE]) * len(turns.ids)
        resident = spec.residents * spec.resident_context_tokens
        self.context_tokens = [resident if node in decode else 0 for node in range(len(spec.nodes))]
        self.kv_pool_tokens = [node.kv_pool_tokens for node in spec.nodes]
        self.waiting_tokens = [0] * len(spec.nodes)
        self.recent: dict[int, deque[float]] = {node: deque() for node in decode}
        self.sticky = spec.sticky_sessions
        self.balance_prefill, self.balance_decode = _balancer(spec.prefill_policy), _balancer(spec.decode_policy)
        self.last_decode = array("l", [NOWHERE]) * len(turns.ids)
        self._picked: dict[tuple[int, NodeRole], int] = {}
        self._rng = np.random.default_rng(spec.router_seed)
        self._new_tokens: dict[int, int] = {}
        self._numbers = {NodeRole.P: 0, NodeRole.D: 0}
        self._policy, self._log = policy, log
        self._view = LiveView(self)

    def decide(self, turn: int, now: float) -> Decision:
        """Ask the policy, check its answer and book it.

        Raises
        ------
        ValueError
            If the policy sends a turn where it cannot go.
        """
        turns, view = self.turns, self._view
        view.point_to(turn, now)
        request = Request(turns.ids[turns.conversation[turn]], turns.number[turn], turns.prompt[turn])
        decision = self._policy.decide(request, view)
        node = decision.decode_node
        if node in self.decode and self.roles[node] is NodeRole.PD and view.cached_tokens(node):
            turns.choices += 1
        self._check(decision)
        if self._log is not None:
            self._log.add(now, request, view, decision)
        if self._picked:
            self._picked.clear()
        return decision

    def pick_decode(self, turn: int, now: float, balance: Balancer) -> int:
        """Return the decode node that the load balancer picks; the same one however often a decision asks."""

        def cached() -> list[float]:
            for node in self.decode.values():
                node.sync(now)
            return [node.pool.cached_tokens(turn) / self.turns.prompt[turn] for node in self.decode.values()]

        return self._pick(turn, NodeRole.D, balance, cached)

    def pick_prefill(self, turn: int, balance: Balancer) -> int:
        """Return the P that the load balancer picks for a turn."""

        def cached() -> list[float]:
            return [node.pool.cached_tokens(turn) / self.turns.prompt[turn] for node in self.prefill.values()]

        return self._pick(turn, NodeRole.P, balance, cached)

    def _pick(self, turn: int, role: NodeRole, balance: Balancer, cached: Callable[[], list[float]]) -> int:
        if (turn, role) not in self._picked:
            index, loads, last = (
                (self.prefill_index, self.prefill_loads, self.last_prefill)
                if role is NodeRole.P
                else (self.decode_index, self.decode_loads, self.last_decode)
            )
            before = last[self.turns.conversation[turn]]
            nodes = Candidates(
                loads=loads,
                cached_share=cached,
                number=self._numbers[role],
                last=None if before == NOWHERE else self._slot[before],
                rng=self._rng,
            )
            self._numbers[role] += 1
            self._picked[turn, role] = index[balance(nodes)]
        return self._picked[turn, role]

    def least_loaded(self) -> int:
        """Return the decode node with the fewest turns."""
        loads = self.decode_loads
        return self.decode_index[loads.index(min(loads))]

    def book(self, turn: int, decision: Decision, now: float) -> None:
        """Count the turn that was just decided on its nodes, from now to its last token."""
        turns = self.turns
        arm, prefill, node = decision
        conversation, prompt = turns.conversation[turn], turns.prompt[turn]
        turns.decode_node[turn], turns.prefill_node[turn] = node, prefill
        self.decode_loads[self._slot[node]] += 1
        self.context_tokens[node] += prompt
        recent = self.recent[node]
        recent.append(now)
        while recent[0] < now - RATE_WINDOW_S:
            recent.popleft()
        self.last_decode[conversation] = node
        target = self.decode[node]
        turns.streams[turn] = target.streams_at(now)
        if target.keeps_prefixes:
            self.home[conversation] = node
            turns.held[turn] = self._view.cached_tokens(node)
        cached = self._view.cached_tokens(prefill)
        new = prompt - cached
        if arm is Arm.APPEND_D:
            target.backlog.promise(turn, new, cached)
            return
        turns.handed[turn] = 1
        self.prefill_loads[self._slot[prefill]] += 1
        self.last_prefill[conversation] = prefill
        self._new_tokens[turn] = new
        self.waiting_tokens[prefill] += new
        self.prefill[prefill].backlog.promise(turn, new, cached)

    def transferred(self, turn: int) -> None:
        """Forget a turn on its P."""
        prefill = self.turns.prefill_node[turn]
        self.prefill_loads[self._slot[prefill]] -= 1
        self.waiting_tokens[prefill] -= self._new_tokens.pop(turn)

    def finished(self, turn: int) -> None:
        """Forget a turn on its decode node."""
        node = self.turns.decode_node[turn]
        self.decode_loads[self._slot[node]] -= 1
        self.context_tokens[node] -= self.turns.prompt[turn]

    def _check(self, decision: Decision) -> None:
        arm, prefill, node = decision
        if node not in self.decode:
            raise ValueError(f"{self._policy_name()}: node {node} does not decode")
        role = self.roles[node]
        if arm is Arm.APPEND_D:
            if role is NodeRole.D or prefill != node or (role is NodeRole.PD and not self._view.cached_tokens(node)):
                raise ValueError(f"{self._policy_name()}: node {node} ({role.value}) may not prefill this turn")
        elif arm is not self.handoff_arm or prefill not in self.prefill or role is NodeRole.U:
            raise ValueError(f"{self._policy_name()}: no {arm.value} from node {prefill} to node {node}")

    def _policy_name(self) -> str:
        return f"policy {type(self._policy).__name__}"


def _balancer(name: str | None) -> Balancer | None:
    return None if name is None else BALANCERS[name]
