"""The router's books, and the view of them that a policy gets.

The view is live and read only; it answers for the turn that is being decided. Loads are counted from decision to last
token. A conversation's home is the decode node that its last turn went to, where that node keeps prefixes.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable

import numpy as np

from ppdsim.des.decode_node import AbstractDecodeNode
from ppdsim.des.prefill_node import PrefillNode
from ppdsim.des.spec import ClusterSpec
from ppdsim.des.turns import Turns
from ppdsim.routing.balance import BALANCERS, Balancer, Candidates
from ppdsim.routing.base import AbstractPolicy, Decision
from ppdsim.routing.decision_log import DecisionLog
from ppdsim.routing.view import NOWHERE, AbstractClusterView, Request
from ppdsim.types import Arm, NodeRole

CACHE_SHARE = 0.3
"""Share of a prompt that must be cached on a P to draw the turn there; below it the least loaded P is taken. Without
such a limit a system prompt that all requests share sends them all to one machine."""
RATE_WINDOW_S = 10.0
"""How far back a node's rate of turns is counted [s]: ten requests at the 1 turn/s of the shipped scenarios."""


class LiveView(AbstractClusterView):
    """The fleet as seen by one decision after another."""

    __slots__ = ("_now", "_router", "_turn")

    def __init__(self, router: Router) -> None:
        self._router = router
        self._turn = 0
        self._now = 0.0

    def point_to(self, turn: int, now: float) -> None:
        """Answer for this turn from now on."""
        self._turn, self._now = turn, now

    @property
    def handoff_arm(self) -> Arm:
        """Return the arm of a turn that P prefills."""
        return self._router.handoff_arm

    def role(self, node: int) -> NodeRole:
        """Return a node's role."""
        return self._router.roles[node]

    def home(self) -> int:
        """Return the decode node that keeps this conversation's KV."""
        router = self._router
        return router.home[router.turns.conversation[self._turn]] if router.sticky else NOWHERE

    def least_loaded_decode(self) -> int:
        """Return the decode node that the load balancer picks, by default the one with the fewest turns."""
        return self._router.pick_decode(self._turn, self._now)

    def best_prefill(self) -> int:
        """Return the P that has most of the prompt cached, if that is enough, else the least loaded one."""
        router = self._router
        if not router.prefill_index:
            return NOWHERE
        if router.balance_prefill is not None:
            return router.pick_prefill(self._turn, router.balance_prefill)
        loads, enough = router.prefill_loads, CACHE_SHARE * router.turns.prompt[self._turn]
        if router.turns.blocks is None:
            # A conversation's prompts lie where its last turn was prefilled, or nowhere.
            last = router.last_prefill[router.turns.conversation[self._turn]]
            if last != NOWHERE and router.prefill[last].pool.cached_tokens(self._turn) >= enough:
                return last
        else:
            cached = [router.prefill[node].pool.cached_tokens(self._turn) for node in router.prefill_index]
            most = max(cached)
            if most >= enough:
                same = [i for i, tokens in enumerate(cached) if tokens == most]
                return router.prefill_index[min(same, key=lambda i: loads[i])]
        return router.prefill_index[loads.index(min(loads))]

    def cached_tokens(self, node: int) -> int:
        """Return the tokens of this prompt that are cached on a node."""
        router = self._router
        if node in router.prefill:
            return router.prefill[node].pool.cached_tokens(self._turn)
        router.decode[node].sync(self._now)
        return router.decode[node].pool.cached_tokens(self._turn)

    def streams(self, node: int) -> int:
        """Return the streams that decode on a node."""
        return self._router.decode[node].streams

    def context_tokens(self, node: int) -> int:
        """Return the prompts on a decode node, residents included [tokens]."""
        return self._router.context_tokens[node]

    def kv_pool_tokens(self, node: int) -> int:
        """Return the size of a node's KV pool."""
        return self._router.kv_pool_tokens[node]

    def waiting_tokens(self, node: int) -> int:
        """Return the uncached prompt tokens of the turns on a P."""
        return self._router.waiting_tokens[node]

    def turns_per_s(self, node: int) -> float:
        """Return the rate of turns to a decode node, from those of the last `RATE_WINDOW_S`."""
        recent = self._router.recent[node]
        while recent and recent[0] < self._now - RATE_WINDOW_S:
            recent.popleft()
        return len(recent) / RATE_WINDOW_S

    def link_wait_s(self, prefill: int, node: int) -> float:
        """Return for how long a link is busy."""
        return self._router.prefill[prefill].links.wait_s(node, self._now)

    def wait_s(self, node: int) -> float:
        """Return the estimated wait on a node [s]."""
        router = self._router
        if node in router.prefill:
            return router.prefill[node].backlog.wait_s(self._now)
        return router.decode[node].backlog.wait_s(self._now)


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
        prefill: dict[int, PrefillNode],
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
        turns = self.turns
        conversation = turns.conversation[turn]
        self._view.point_to(turn, now)
        may_append = turns.number[turn] > 0 or turn in turns.preloads
        request = Request(
            conversation_id=turns.ids[conversation],
            turn=turns.number[turn],
            prompt_tokens=turns.prompt[turn],
            may_append=may_append,
        )
        decision = self._policy.decide(request, self._view)
        self._check(decision, may_append)
        if self._log is not None:
            self._log.add(now, request, self._view, decision)
        self._picked.clear()
        return decision

    def pick_decode(self, turn: int, now: float) -> int:
        """Return the decode node of a turn that has no home; the same one however often a decision asks."""
        if self.balance_decode is None:
            return self.least_loaded()

        def cached() -> list[float]:
            for node in self.decode.values():
                node.sync(now)
            return [node.pool.cached_tokens(turn) / self.turns.prompt[turn] for node in self.decode.values()]

        return self._pick(turn, NodeRole.D, self.balance_decode, cached)

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
        turns, node = self.turns, decision.decode_node
        conversation = turns.conversation[turn]
        turns.decode_node[turn], turns.prefill_node[turn] = node, decision.prefill_node
        self.decode_loads[self._slot[node]] += 1
        self.context_tokens[node] += turns.prompt[turn]
        self.recent[node].append(now)
        self.last_decode[conversation] = node
        if self.decode[node].keeps_prefixes:
            self.home[conversation] = node
        cached = self._view.cached_tokens(decision.prefill_node)
        new = turns.prompt[turn] - cached
        if decision.arm is Arm.APPEND_D:
            self.decode[node].backlog.promise(turn, new, cached)
            return
        turns.handed[turn] = 1
        self.prefill_loads[self._slot[decision.prefill_node]] += 1
        self.last_prefill[conversation] = decision.prefill_node
        self._new_tokens[turn] = new
        self.waiting_tokens[decision.prefill_node] += new
        self.prefill[decision.prefill_node].backlog.promise(turn, new, cached)

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

    def _check(self, decision: Decision, may_append: bool) -> None:
        node, prefill = decision.decode_node, decision.prefill_node
        name = type(self._policy).__name__
        if node not in self.decode:
            raise ValueError(f"policy {name}: node {node} does not decode")
        role = self.roles[node]
        if decision.arm is Arm.APPEND_D:
            if role is NodeRole.D or prefill != node or (role is NodeRole.PD and not may_append):
                raise ValueError(f"policy {name}: node {node} ({role.value}) may not prefill this turn")
        elif decision.arm is not self.handoff_arm or prefill not in self.prefill or role is NodeRole.U:
            raise ValueError(f"policy {name}: no {decision.arm.value} from node {prefill} to node {node}")


def _balancer(name: str | None) -> Balancer | None:
    return None if name is None else BALANCERS[name]
