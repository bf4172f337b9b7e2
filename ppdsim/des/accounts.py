"""What the machines of a run did, read off the nodes at its end (:mod:`ppdsim.activity` has the definitions)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from ppdsim.activity import Activity, LinkActivity, NodeActivity
from ppdsim.des.decode_node import AbstractDecodeNode
from ppdsim.des.kv_cache import AbstractKvPool
from ppdsim.des.prefill_node import AbstractPrefillNode
from ppdsim.des.spec import HANDOFF_ROLES

if TYPE_CHECKING:
    from ppdsim.des.cluster import Cluster


def activity_of(cluster: Cluster) -> Activity:
    """Return what the nodes and links of a run have done until now."""
    now, arrivals = cluster.clock.now, np.array(cluster.turns.t_arrival)
    first_s = float(np.nanmin(arrivals)) if not np.all(np.isnan(arrivals)) else now
    span_s = max(now - first_s, 0.0)
    return Activity(
        span_s=span_s,
        sends_delta=cluster.spec.disaggregation_decode_enable_radix_cache,
        nodes=tuple(_node(cluster, number, now, span_s) for number in range(len(cluster.spec.nodes))),
        links=_links(cluster, now),
        shared_tokens=np.array(cluster.turns.shared, dtype=np.int64),
    )


def _node(cluster: Cluster, number: int, now: float, span_s: float) -> NodeActivity:
    node: AbstractPrefillNode | AbstractDecodeNode
    if number in cluster.prefill:
        node, keeps_prefixes = cluster.prefill[number], True
    else:
        node = cluster.decode[number]
        node.sync(now)
        keeps_prefixes = node.keeps_prefixes
    pool: AbstractKvPool = node.pool
    return NodeActivity(
        number=number,
        role=node.spec.role,
        # Residents decode before the first arrival, too.
        busy_s=min(node.busy_s(now), span_s),
        keeps_prefixes=keeps_prefixes,
        prefix_tokens=pool.prefix_pages * pool.page,
        pool_tokens=pool.capacity * pool.page,
        admissions=pool.admissions,
        admitted_pool_tokens=pool.admitted_pages * pool.page,
        largest_pool_tokens=pool.largest_pages * pool.page,
        evictions=pool.evictions,
        evicted_tokens=pool.evicted_pages * pool.page,
    )


def _links(cluster: Cluster, now: float) -> tuple[LinkActivity, ...]:
    """Return the links, a NIC once; what they still have to send at the end is not done yet."""
    turns, nodes = cluster.turns, cluster.spec.nodes
    sent: defaultdict[str, float] = defaultdict(float)
    left: dict[str, float] = {}
    handed = np.flatnonzero(np.frombuffer(bytes(turns.handed), dtype=np.bool_))
    of_pair = np.zeros((len(nodes), len(nodes)))
    np.add.at(
        of_pair,
        (np.array(turns.prefill_node)[handed], np.array(turns.decode_node)[handed]),
        np.array(turns.wire)[handed],
    )
    for p, prefill in cluster.prefill.items():
        nic = nodes[p].nic
        for d in (number for number in cluster.decode if nodes[number].role in HANDOFF_ROLES):
            name = f"{p}-{d}" if nic is None else f"NIC {nic}"
            sent[name] += float(of_pair[p, d])
            left[name] = prefill.links.left_s(d, now)
    return tuple(LinkActivity(name=name, busy_s=max(wire_s - left[name], 0.0)) for name, wire_s in sent.items())
