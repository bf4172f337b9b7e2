"""A fleet of one P (0) and one pD (1) that says the same whenever it is asked."""

from __future__ import annotations

from ppdsim.routing.view import AbstractClusterView, Request
from ppdsim.types import Arm, NodeRole


class View(AbstractClusterView):
    def __init__(
        self,
        *,
        cached: int = 0,
        on_p: int = 0,
        streams: int = 0,
        context: int | None = None,
        wait_s: float = 0.0,
        wait_on_p_s: float = 0.0,
        link_wait_s: float = 0.0,
        waiting_tokens: int = 0,
        turns_per_s: float = 0.0,
        pool_tokens: int = 100_000,
        arm: Arm = Arm.P_FULL,
    ) -> None:
        self._cached, self._streams, self._waits_s, self._arm = (on_p, cached), streams, (wait_on_p_s, wait_s), arm
        self._context = 1000 * streams if context is None else context
        self._link_wait_s, self._waiting, self._rate, self._pool = link_wait_s, waiting_tokens, turns_per_s, pool_tokens

    @property
    def handoff_arm(self) -> Arm:
        return self._arm

    def role(self, node: int) -> NodeRole:
        return (NodeRole.P, NodeRole.PD)[node]

    def home(self) -> int:
        return 1

    def least_loaded_decode(self) -> int:
        return 1

    def best_prefill(self) -> int:
        return 0

    def cached_tokens(self, node: int) -> int:
        return self._cached[node]

    def streams(self, node: int) -> int:
        return self._streams

    def context_tokens(self, node: int) -> int:
        return self._context

    def kv_pool_tokens(self, node: int) -> int:
        return self._pool

    def waiting_tokens(self, node: int) -> int:
        return self._waiting

    def turns_per_s(self, node: int) -> float:
        return self._rate

    def link_wait_s(self, prefill: int, node: int, wire_s: float) -> float:
        return self._link_wait_s

    def wait_s(self, node: int) -> float:
        return self._waits_s[node]


def request(prompt: int, turn: int = 1) -> Request:
    return Request(conversation_id="a", turn=turn, prompt_tokens=prompt)
