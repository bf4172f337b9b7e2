"""What keeps a fleet from a higher rate: the limit that most turns break, and where those turns spend their time.

Of the turns that break the limit on TTFT, the mean of each part of it is taken, and the largest part names the place:
the queue for KV pages of a decode node, the queue for a forward of the node that prefills, the link, or the forward
itself, which no queue explains. TPOT and ITL are spent in the batch of the node that decodes. A place is the node on
which these turns lost the most. Not modelled: which node to add; one queue moved shows the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim.capacity_result import Binding
from ppdsim.metrics import SloLimits
from ppdsim.types import NodeRole

Turns = Mapping[str, NDArray[Any]]
LIMITS = ("ttft_s", "tpot_s", "itl_max_s")
PARTS: dict[str, tuple[str, Callable[[Turns], NDArray[np.float64]]]] = {
    "queue for KV pages": ("decode_node", lambda t: t["kv_wait_s"]),
    "queue for a prefill forward": ("prefill_node", lambda t: t["queue_s"] - t["kv_wait_s"]),
    "prefill forwards": ("prefill_node", lambda t: t["prefill_s"]),
    "KV transfer": ("prefill_node", lambda t: t["kv_transfer_exposed_s"]),
}
"""Parts of TTFT, with the column of the node on which each is spent."""


def binding_of(
    turns: Turns, counted: NDArray[np.bool_], limits: SloLimits, roles: Sequence[NodeRole]
) -> Binding | None:
    """Return what the counted turns break most, or None if all of them keep every limit."""
    ok = turns["status"] == "ok"
    broken = {"unanswered": counted & ~ok}
    for name in LIMITS:
        limit = getattr(limits, name)
        if limit is not None:
            broken[name] = counted & ok & (turns[name] > limit)
    worst = max(broken, key=lambda name: int(broken[name].sum()))
    rows = broken[worst]
    if not rows.any():
        return None
    if worst == "unanswered":
        return _unanswered(turns, rows, float(rows.sum() / counted.sum()), roles)
    if worst == "ttft_s":
        return _in_ttft(turns, rows, counted, worst, roles)
    node = _node(turns["decode_node"][rows], np.ones(int(rows.sum())))
    return Binding(
        limit=worst,
        share=float(rows.sum() / counted.sum()),
        place="decode batch",
        node=node,
        role=roles[node].value,
        seconds=float(np.mean(turns[worst][rows])),
    )


def overload_of(turns: Turns, counted: NDArray[np.bool_], roles: Sequence[NodeRole]) -> Binding | None:
    """Return where the turns of a run wait whose waits grow, or None if none of them has an answer."""
    rows = counted & (turns["status"] == "ok")
    return _in_ttft(turns, rows, rows, "overloaded", roles) if rows.any() else None


def _in_ttft(
    turns: Turns, rows: NDArray[np.bool_], counted: NDArray[np.bool_], limit: str, roles: Sequence[NodeRole]
) -> Binding:
    """Return the largest part of the TTFT of `rows`."""
    means = {place: float(np.mean(seconds_of(turns)[rows])) for place, (_, seconds_of) in PARTS.items()}
    place = max(means, key=lambda name: means[name])
    column, seconds_of = PARTS[place]
    node = _node(turns[column][rows], seconds_of(turns)[rows])
    share = float(rows.sum() / counted.sum())
    return Binding(limit=limit, share=share, place=place, node=node, role=roles[node].value, seconds=means[place])


def _unanswered(turns: Turns, rows: NDArray[np.bool_], share: float, roles: Sequence[NodeRole]) -> Binding:
    timed_out = rows & (turns["status"] == "timed_out")
    if timed_out.any():
        node = _node(turns["decode_node"][timed_out], np.ones(int(timed_out.sum())))
        return Binding(limit="unanswered", share=share, place="timed-out hand-offs", node=node, role=roles[node].value)
    rejected = bool((turns["status"][rows] == "rejected").all())
    return Binding(limit="unanswered", share=share, place="KV pool" if rejected else "queues")


def _node(nodes: NDArray[np.int64], lost_s: NDArray[np.float64]) -> int:
    """Return the node on which most was lost."""
    return int(np.argmax(np.bincount(nodes, weights=np.maximum(lost_s, 0.0))))
