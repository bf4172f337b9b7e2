"""What the machines of a run did: how busy they were, how full their KV pools, and what turns found cached there.

==================  ==================================================================================================
busy share          P: time in prefill forwards; D, pD and U: time with a stream that decodes or a forward that runs;
                    link: seconds on the wire; each over the time from the first arrival to the end of the run
pool share          KV tokens that running and admitted turns hold, over the pool: the mean as turns are admitted (just
                    after each), and the largest at any moment; prefixes kept for later are not counted
hit rate            prompt tokens found cached over all prompt tokens, of the turns that asked that machine: P when
                    their first forward began, D when they were admitted (appends, and hand-offs of what D lacks)
held                share of the follow-up turns that met a machine which still held the earlier prompt that they go on
                    with, but for the part of a page or block at its end: P when their first forward began, D when they
                    arrived. Several turns may go on with one prompt (known by its blocks); each asks for its own
uncached            prompt tokens of follow-up turns that the machine did not hold, at the same moments
evictions           prefixes (of workloads with block ids: blocks) that made room for others, and their tokens
streams             streams that decode on the decode machine of a turn when it arrives, residents included
==================  ==================================================================================================

"prefill" are the P nodes, "decode" all others. A value that no turn defines is None: D's hit rate where every turn is a
hand-off of its whole prompt, `held` where a machine keeps no prefixes.

Not modelled: the mean of a pool over time; turns see it as often as they come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim import metrics
from ppdsim.types import NodeRole

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeActivity:
    """What one machine did.

    Attributes
    ----------
    number : int
        Position in the fleet, counted from 0.
    busy_s : float
        Time at work [s].
    keeps_prefixes : bool
        Whether it keeps the KV of turns that have ended.
    prefix_tokens : int
        Pages or blocks in which it keeps them [tokens].
    pool_tokens : int
        KV pool beside the residents' KV [tokens].
    admissions, admitted_pool_tokens : int
        Turns admitted, and the sum over them of what running turns held just then [tokens].
    largest_pool_tokens : int
        Most that running turns held at any moment [tokens].
    evictions, evicted_tokens : int
        Prefixes that made room, and their tokens.
    """

    number: int
    role: NodeRole
    busy_s: float
    keeps_prefixes: bool
    prefix_tokens: int
    pool_tokens: int
    admissions: int
    admitted_pool_tokens: int
    largest_pool_tokens: int
    evictions: int
    evicted_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkActivity:
    """Seconds that a link was sending: that of a pair of nodes, or a NIC, which several pairs may share."""

    name: str
    busy_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """All of it, over the `span_s` seconds from the first arrival to the end of the run.

    `sends_delta`: hand-offs send only what the decode machine lacks, so they look for the prefix there.
    `shared_tokens`, shape (turns,): the prompt tokens that an earlier turn of the conversation had in its own prompt.
    """

    span_s: float
    sends_delta: bool
    nodes: tuple[NodeActivity, ...]
    links: tuple[LinkActivity, ...]
    shared_tokens: NDArray[np.int64]

    def summary(self, turns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Return the numbers of a run with these turns, ready for JSON (undefined values are None)."""
        prefill = [node for node in self.nodes if node.role is NodeRole.P]
        decode = [node for node in self.nodes if node.role is not NodeRole.P]
        sent = turns["decode_node"] >= 0
        met = np.where(sent, turns["decode_streams"], np.nan)
        return {
            "busy": {
                "prefill": self._busy([node.busy_s for node in prefill]),
                "decode": self._busy([node.busy_s for node in decode]),
                "link": self._busy([link.busy_s for link in self.links]),
            },
            "kv_pool": {"prefill": _pool(prefill), "decode": _pool(decode)},
            "prefix_cache": self._caches(turns),
            "decode_streams": metrics.describe(met),
            "nodes": [
                {
                    "node": node.number,
                    "role": node.role.value,
                    "busy_share": self._share(node.busy_s),
                    **_pool([node]),
                    **_evicted([node]),
                }
                for node in self.nodes
            ],
            "links": [{"link": link.name, "busy_share": self._share(link.busy_s)} for link in self.links],
        }

    def _caches(self, turns: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, Any]]:
        """Return what the turns of the run found cached, and what was evicted."""
        prefill = [node for node in self.nodes if node.role is NodeRole.P]
        decode = [node for node in self.nodes if node.role is not NodeRole.P]
        found = self.hit_rates(turns)
        begun = ~np.isnan(turns["t_prefill_start_s"]) & (turns["turn"] > 0)
        on_p = begun & np.isin(turns["prefill_node"], [node.number for node in prefill])
        prompt = turns["input_tokens"]
        held_p = self._held(prompt, turns["prefill_cached_tokens"], on_p, prefill)
        held_d = self._held(prompt, turns["decode_held_tokens"], self._met_prefixes(turns), decode)
        return {
            "prefill": {"hit_rate": found["prefill"], **held_p, **_evicted(prefill)},
            "decode": {"hit_rate": found["decode"], **held_d, **_evicted(decode)},
        }

    def _met_prefixes(self, turns: Mapping[str, NDArray[Any]]) -> Mask:
        """Return which turns are follow-up turns that met a decode machine which keeps prefixes."""
        keeping = [node.number for node in self.nodes if node.role is not NodeRole.P and node.keeps_prefixes]
        return (turns["turn"] > 0) & np.isin(turns["decode_node"], keeping)

    def _held(
        self, prompt: NDArray[Any], held_tokens: NDArray[Any], asked: Mask, nodes: Sequence[NodeActivity]
    ) -> dict[str, Any]:
        """Return how many of the follow-up turns `asked` found what they go on with, and what they lacked."""
        if not asked.any():
            return {"follow_ups": 0, "held_share": None, "uncached_tokens": metrics.describe([])}
        whole = max(node.prefix_tokens for node in nodes)
        before = self.shared_tokens // whole * whole
        return {
            "follow_ups": int(asked.sum()),
            "held_share": float(np.mean(held_tokens[asked] >= before[asked])),
            "uncached_tokens": metrics.describe((prompt - held_tokens)[asked]),
        }

    def hit_rates(self, turns: Mapping[str, NDArray[Any]]) -> dict[str, float | None]:
        """Return the hit rate of these turns, which may be some of the run's, on P and on all that decode."""
        prefill = [node.number for node in self.nodes if node.role is NodeRole.P]
        begun, on = ~np.isnan(turns["t_prefill_start_s"]), turns["prefill_node"]
        asked_p = begun & np.isin(on, prefill)
        asked_d = begun if self.sends_delta else begun & (on == turns["decode_node"])
        prompt = turns["input_tokens"]
        return {
            "prefill": _hit_rate(turns["prefill_cached_tokens"], prompt, asked_p),
            "decode": _hit_rate(turns["cached_tokens"], prompt, asked_d),
        }

    def _share(self, busy_s: float) -> float | None:
        return min(busy_s / self.span_s, 1.0) if self.span_s > 0.0 else None

    def _busy(self, busy_s: Sequence[float]) -> dict[str, float | None]:
        """Return the mean over machines and the busiest one."""
        if not busy_s:
            return {"mean_share": None, "max_share": None}
        return {"mean_share": self._share(float(np.mean(busy_s))), "max_share": self._share(max(busy_s))}


def _hit_rate(cached_tokens: NDArray[Any], input_tokens: NDArray[Any], asked: Mask) -> float | None:
    prompts = int(input_tokens[asked].sum())
    return int(cached_tokens[asked].sum()) / prompts if prompts else None


def _pool(nodes: Sequence[NodeActivity]) -> dict[str, float | None]:
    """Return the mean share of a pool that is in use as turns are admitted, and the largest of any pool."""
    seen = [node.admitted_pool_tokens / node.pool_tokens for node in nodes]
    admissions = sum(node.admissions for node in nodes)
    return {
        "mean_share": sum(seen) / admissions if admissions else None,
        "max_share": max((node.largest_pool_tokens / node.pool_tokens for node in nodes), default=None),
    }


def _evicted(nodes: Sequence[NodeActivity]) -> dict[str, int]:
    return {
        "evictions": sum(node.evictions for node in nodes),
        "evicted_tokens": sum(node.evicted_tokens for node in nodes),
    }
