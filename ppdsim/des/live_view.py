"""The view of the router's books that a policy gets: live, read only, and about the turn that is being decided."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar

from ppdsim.routing.view import NOWHERE, AbstractClusterView
from ppdsim.types import Arm, NodeRole

if TYPE_CHECKING:
    from ppdsim.des.router import Router

T = TypeVar("T")

CACHE_SHARE = 0.3
"""Share of a prompt that must be cached on a P to draw the turn there; below it the least loaded P is taken. Without
such a limit a system prompt that all requests share sends them all to one machine."""
RATE_WINDOW_S = 10.0
"""How far back a node's rate of turns is counted [s]: ten requests at the 1 turn/s of the shipped scenarios."""


class LiveView(AbstractClusterView):
    """The fleet as seen by one decision after another."""

    __slots__ = ("_cached", "_known", "_now", "_router", "_turn")

    def __init__(self, router: Router) -> None:
        self._router = router
        self._turn = 0
        self._now = 0.0
        # Of the turn that is being decided:
        self._cached: dict[int, int] = {}  # by node
        self._known: dict[Hashable, Any] = {}

    def point_to(self, turn: int, now: float) -> None:
        """Answer for this turn from now on."""
        self._turn, self._now = turn, now
        self._cached.clear()
        if self._known:
            self._known.clear()

    def once(self, key: Hashable, work: Callable[[], T]) -> T:
        """Return what `work` returned for this decision: the policy and the log ask the same."""
        found: T | None = self._known.get(key)
        if found is None:
            found = self._known[key] = work()
        return found

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
        router = self._router
        if router.balance_decode is None:
            return router.least_loaded()
        return router.pick_decode(self._turn, self._now, router.balance_decode)

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
            if last != NOWHERE and self.cached_tokens(last) >= enough:
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
        found = self._cached.get(node)
        if found is None:
            router = self._router
            prefill = router.prefill.get(node)
            if prefill is not None:
                pool = prefill.pool
            else:
                router.decode[node].sync(self._now)
                pool = router.decode[node].pool
            found = self._cached[node] = pool.cached_tokens(self._turn)
        return found

    def streams(self, node: int) -> int:
        """Return the streams that decode on a node."""
        return self._router.decode[node].streams_at(self._now)

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

    def link_wait_s(self, prefill: int, node: int, wire_s: float) -> float:
        """Return what the KV on a link, or on the NIC that it shares, delays."""
        return self._router.prefill[prefill].links.wait_s(node, self._now, wire_s)

    def wait_s(self, node: int) -> float:
        """Return the estimated wait on a node [s]."""
        router = self._router
        if node in router.prefill:
            return router.prefill[node].backlog.wait_s(self._now)
        return router.decode[node].backlog.wait_s(self._now)
