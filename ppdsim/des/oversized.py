"""Turns that no node of a fleet can ever hold, found before anything runs.

The rule is the one by which a turn is rejected on arrival (`Cluster.can_hold`), asked of each kind of route through the
fleet: prefilled on a P and decoded on a D or pD, or both on a U, or, where something of the prompt may be cached, on a
pD. A
router may still send a turn that some node could hold to one that cannot; such a turn is rejected on arrival.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ppdsim.errors import WorkloadError
from ppdsim.types import NodeRole

if TYPE_CHECKING:
    from ppdsim.des.cluster import Cluster


def too_large(cluster: Cluster) -> list[int]:
    """Return the turns that no route can hold, in order."""
    spec, turns = cluster.spec, cluster.turns
    pools = [(node.pool.capacity, node.pool.page) for node in cluster.decode.values()]
    pools += [(node.pool.capacity, node.pool.page) for node in cluster.prefill.values()]
    prompt = np.frombuffer(turns.prompt, dtype=np.dtype("l"))
    output = np.frombuffer(turns.output, dtype=np.dtype("l"))
    largest = prompt + np.maximum(output, spec.num_reserved_decode_tokens)
    # What fits into the smallest pool with three pages and the residents' tokens to spare fits everywhere: no rule asks
    # for more.
    too_much = largest > min((capacity - 3) * page for capacity, page in pools) - spec.residents
    if spec.context_tokens is not None:
        too_much |= prompt > spec.context_tokens
    doubtful = np.flatnonzero(too_much)
    new, known = _routes(cluster, appends=False), _routes(cluster, appends=True)
    return [
        turn
        for turn in doubtful.tolist()
        if not any(
            cluster.can_hold(turn, node, prefill) for node, prefill in (known if turns.may_find_prefix(turn) else new)
        )
    ]


def refuse(cluster: Cluster) -> None:
    """Refuse a workload with such a turn.

    Raises
    ------
    WorkloadError
        Naming the first one, what it needs, what the fleet has, how many there are, and what can be done.
    """
    found = too_large(cluster)
    if not found:
        return
    turns, turn = cluster.turns, found[0]
    prompt, output = turns.prompt[turn], turns.output[turn]
    others = f" and {len(found) - 1} more turns" if len(found) > 1 else ""
    which = f"conversation {turns.ids[turns.conversation[turn]]}, turn {turns.number[turn]}{others}"
    context = cluster.spec.context_tokens
    if context is not None and prompt > context:
        raise WorkloadError(
            f"{which}: a prompt of {prompt} tokens; the model takes at most {context} (its context); shorten it, or let"
            " such turns be rejected on arrival: --set oversized_turns=reject"
        )
    pools = {number: node.pool.capacity * node.pool.page for number, node in cluster.decode.items()}
    best = max(pools, key=lambda number: pools[number])
    raise WorkloadError(
        f"{which}: it needs"
        f" {prompt + output} tokens of KV (a prompt of {prompt} and an answer of {output}, for which at least"
        f" {cluster.spec.num_reserved_decode_tokens} are reserved); the largest KV pool of the fleet holds"
        f" {pools[best]} (node {best}, {cluster.spec.nodes[best].role.value}); shorten it, raise kv_pool_tokens in the"
        " fleet, or let such turns be rejected on arrival: --set oversized_turns=reject"
    )


def _routes(cluster: Cluster, *, appends: bool) -> list[tuple[int, int]]:
    """Return one (decode node, prefill node) of each kind of route; `appends`: a pD may prefill too."""
    kinds: dict[tuple[object, ...], tuple[int, int]] = {}
    prefills = {(node.pool.capacity, node.pool.page): number for number, node in cluster.prefill.items()}
    for number, node in cluster.decode.items():
        role = node.spec.role
        kind = (role, node.pool.capacity, node.pool.page)
        if role is NodeRole.U or (role is NodeRole.PD and appends):
            kinds[(*kind, None)] = (number, number)
        if role is not NodeRole.U:
            kinds |= {(*kind, pool): (number, prefill) for pool, prefill in prefills.items()}
    return list(kinds.values())
