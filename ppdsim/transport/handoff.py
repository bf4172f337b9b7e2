"""A hand-off P -> D: handshake, wire, join, and P's host. One set of parameters per arm and transport.

::

    before = handshake_s + prefix_s * c / (c + PREFIX_HALF_TOKENS)                              (until P may start)
    wire   = send_s + tokens * (wire_s_per_token + fresh_wire_s_per_token * F / (F + held))     (FIFO on the link)
    after  = join_s                                                      (metadata, polling, D's prebuilt batch)
    result = request_result_s                              (P's host, for each request of a batch that has ended)
    launch = beside_send_s                     (longer, of a batch that P's host launches while its sender works)

with c tokens cached on P, `held` tokens that D already has, F = FRESH_HALF_TOKENS. A share `early_share` of the
prefix that P has cached and D lacks is sent when P's forward starts (SGLang >= 0.5.15); the rest, and each chunk's
KV, when P handles the chunk's result. Over NVLink SGLang up to 0.5.19 makes one task a K and V buffer and waits for
each, `send_s` in all (disaggregation/mooncake/conn.py, _send_kvcache_generic). Its thread and that of the scheduler
share one interpreter, so while it sends, P's host needs longer for each result and for each launch. Over TCP the
early send overlaps the forward; over in-node NVLink it does not, as if its copies queued behind the forward on the
GPU. Not modelled: why a prefix costs what it costs, and whether `fresh_wire` is a mechanism or the drift of one block
of time (the first grid cannot tell); several P on one NIC; fragmentation of D's pages; RDMA. Forms that were tried:
docs/design/curve-forms.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ppdsim.cost.base import AbstractCurve, Parameter, Quantity, maximum

PREFIX_HALF_TOKENS = 256.0
"""Cached prefix at which half of `prefix_s` is paid [tokens]; chosen by cross-validation."""
FRESH_HALF_TOKENS = 1024.0
"""Tokens held by D that halve `fresh_wire_s_per_token` [tokens]; chosen likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoffCurve(AbstractCurve):
    """Seconds of one hand-off, in the parts that the simulator plays one by one."""

    kind: ClassVar[str] = "handoff"
    PARAMETERS: ClassVar[tuple[Parameter, ...]] = (
        Parameter(name="handshake_s", unit="s", low=0.0, high=0.2, meaning="bootstrap and pre-allocation"),
        Parameter(name="prefix_s", unit="s", low=0.0, high=0.2, meaning="extra when P has a long cached prefix"),
        Parameter(name="wire_s_per_token", unit="s/token", low=0.0, high=1e-3, meaning="KV of one token on the link"),
        Parameter(name="fresh_wire_s_per_token", unit="s/token", low=0.0, high=1e-3, meaning="extra if D holds none"),
        Parameter(name="early_share", unit="1", low=0.0, high=1.0, meaning="prefix share sent beside the forward"),
        Parameter(name="join_s", unit="s", low=0.0, high=0.2, meaning="last KV byte to D's first token"),
        Parameter(name="send_s", unit="s", low=0.0, high=0.2, meaning="one piece of KV on the link, beyond bytes"),
        Parameter(name="request_result_s", unit="s", low=0.0, high=0.2, meaning="P's host with one request's result"),
        Parameter(name="beside_send_s", unit="s", low=0.0, high=0.2, meaning="extra of a launch on P beside a send"),
    )
    handshake_s: Quantity
    prefix_s: Quantity
    wire_s_per_token: Quantity
    fresh_wire_s_per_token: Quantity
    early_share: Quantity
    join_s: Quantity
    send_s: Quantity
    request_result_s: Quantity
    beside_send_s: Quantity

    def before_s(self, prefill_cached_tokens: Quantity) -> Quantity:
        """Return the seconds between D's pre-allocation and P's readiness to run the forward."""
        prefix = prefill_cached_tokens / (prefill_cached_tokens + PREFIX_HALF_TOKENS)
        return self.handshake_s + self.prefix_s * prefix

    def wire_s(self, tokens: Quantity, held_tokens: Quantity) -> Quantity:
        """Return the seconds that the KV of `tokens` occupies the link when D already holds `held_tokens`."""
        fresh = FRESH_HALF_TOKENS / (FRESH_HALF_TOKENS + held_tokens)
        moved_s = tokens * (self.wire_s_per_token + self.fresh_wire_s_per_token * fresh)
        return self.send_s * (tokens > 0) + moved_s

    def narrowed_by(self, receiver: HandoffCurve) -> HandoffCurve:
        """Return the hand-off to a machine whose own is `receiver`: this side's host work, the slower wire of the two.

        KV leaves and arrives at once, so it moves as fast as the side with fewer or slower links takes it. No mixed
        pair has been measured.
        """
        return replace(
            self,
            wire_s_per_token=maximum(self.wire_s_per_token, receiver.wire_s_per_token),
            fresh_wire_s_per_token=maximum(self.fresh_wire_s_per_token, receiver.fresh_wire_s_per_token),
        )

    def after_s(self) -> Quantity:
        """Return the seconds from the last KV byte on D to D's first token."""
        return self.join_s
