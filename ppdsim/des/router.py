"""The router's books, and the view of them that a policy gets.

The view is live and read only; it answers for the turn that is being decided. Loads are counted from decision to last
token. A conversation's home is the decode node that its last turn went to, where that node keeps prefixes.
"""

from __future__ import annotations

from array import array

from ppdsim.des.decode_node import AbstractDecodeNode
from ppdsim.des.prefill_node import PrefillNode
from ppdsim.des.spec import ClusterSpec
from ppdsim.des.turns import Turns
from ppdsim.routing.base import AbstractPolicy, Decision
from ppdsim.routing.view import NOWHERE, AbstractClusterView, Request
from ppdsim.types import Arm, NodeRole

CACHE_SHARE = 0.3
"""Share of a prompt that must be cached on a P to draw the turn there; below it the least loaded P is taken. Without
such a limit a system prompt that all requests share sends them all to one machine."""


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
        return self._router.home[self._router.turns.conversation[self._turn]]

    def least_loaded_decode(self) -> int:
        """Return the decode node with the fewest turns."""
        return self._router.least_loaded()

    def best_prefill(self) -> int:
        """Return the P that has most of the prompt cached, if that is enough, else the least loaded one."""
        router = self._router
        if not router.prefill_index:
            return NOWHERE
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

    def wait_s(self, node: int) -> float:
        """Return the estimated wait on a node [s]."""
        router = self._router
        if node in router.prefill:
            return router.prefill[node].backlog.wait_s(self._now)
        return router.decode[node].backlog.wait_s(self._now)


class Router:
    """Asks the policy and keeps the books."""

    __slots__ = (
        "_ids",
        "_policy",
        "_slot",
        "_view",
        "context_tokens",
        "decode",
        "decode_index",
        "decode_loads",
        "handoff_arm",
        "home",
        "last_prefill",
        "prefill",
        "prefill_index",
        "prefill_loads",
        "roles",
        "turns",
    )

    def __init__(
        self,
        turns: Turns,
        spec: ClusterSpec,
        policy: AbstractPolicy,
        prefill: dict[int, PrefillNode],
        decode: dict[int, AbstractDecodeNode],
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
        self._policy = policy
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
        return decision

    def least_loaded(self) -> int:
        """Return the decode node with the fewest turns."""
        loads = self.decode_loads
        return self.decode_index[loads.index(min(loads))]

    def book(self, turn: int, decision: Decision) -> None:
        """Count the turn that was just decided on its nodes, from now to its last token."""
        turns, node = self.turns, decision.decode_node
        conversation = turns.conversation[turn]
        turns.decode_node[turn], turns.prefill_node[turn] = node, decision.prefill_node
        self.decode_loads[self._slot[node]] += 1
        self.context_tokens[node] += turns.prompt[turn]
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
        self.prefill[decision.prefill_node].backlog.promise(turn, new, cached)

    def transferred(self, turn: int) -> None:
        """Forget a turn on its P."""
        self.prefill_loads[self._slot[self.turns.prefill_node[turn]]] -= 1

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
