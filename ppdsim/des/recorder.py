"""From the columns of a run to :class:`~ppdsim.results.Results`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim import metrics
from ppdsim.activity import Activity
from ppdsim.columns import Columns
from ppdsim.des.decode_node import AbstractDecodeNode
from ppdsim.des.itl import TokenGaps
from ppdsim.des.spec import ClusterSpec
from ppdsim.des.turn_table import TurnTable
from ppdsim.des.turns import OK, Turns
from ppdsim.results import TURN_COLUMNS, Results
from ppdsim.types import NodeRole

NO_PD = "had nothing to decide: no node of the fleet may both take a hand-off and prefill (role pD)"
NO_PREFIX_NOTE = (
    "no turn could be appended on a pD: none arrived of which the pD had a prefix cached, so no policy had a choice"
)
MIXED_NOTE = "assumed: the time of a mixed forward is put together from two curves; mixed forwards are unmeasured"
INTERRUPTED_NOTE = "interrupted: the unfinished turns were not simulated to their end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What results say beside the numbers: `outside` tells which turns the profile never saw, `decisions` the log.

    Of a `policy` with a name is noted that the fleet leaves it nothing to decide.
    """

    run_id: str = "run"
    seed: int = 0
    slo_class: str = "default"
    limits: metrics.SloLimits = field(default_factory=metrics.SloLimits)
    outside: Callable[[Mapping[str, NDArray[Any]]], NDArray[np.bool_]] | None = None
    policy: str = ""
    notes: tuple[str, ...] = ()
    unread_keys: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    decisions: Callable[[], Mapping[str, NDArray[Any]]] | None = None


def to_results(
    spec: ClusterSpec,
    turns: Turns,
    decode: Mapping[int, AbstractDecodeNode],
    gaps: TokenGaps,
    activity: Activity,
    labels: Labels,
    *,
    interrupted: bool = False,
) -> Results:
    """Return the results of a run that has ended, or that somebody stopped."""
    gaps.close()
    columns = TurnTable(spec, turns, gaps).columns(
        run_id=labels.run_id, seed=labels.seed, slo_class=labels.slo_class, limits=labels.limits
    )
    nowhere = np.zeros(turns.count, dtype=np.bool_)
    columns["extrapolated"] = nowhere if labels.outside is None else labels.outside(Columns(columns))
    itl_gaps_s, itl_counts = gaps.every.columns()
    return Results(
        turns=Columns({name: columns[name] for name in TURN_COLUMNS}),
        itl_gaps_s=itl_gaps_s,
        itl_counts=itl_counts,
        limits=labels.limits,
        activity=activity,
        interrupted=interrupted,
        notes=(*labels.notes, *([INTERRUPTED_NOTE] if interrupted else []), *_notes(spec, turns, decode, labels)),
        unread_keys=labels.unread_keys,
        provenance=labels.provenance,
        decisions=None if labels.decisions is None else labels.decisions(),
    )


def _notes(spec: ClusterSpec, turns: Turns, decode: Mapping[int, AbstractDecodeNode], labels: Labels) -> list[str]:
    notes = []
    roles = {node.role for node in spec.nodes}
    if NodeRole.PD in roles:
        notes += [spec.scheduler.pd_note] if spec.scheduler.pd_note else []
        if not turns.choices:
            notes.append(NO_PREFIX_NOTE)
    elif NodeRole.P in roles and labels.policy:
        notes.append(f"policy '{labels.policy}' {NO_PD}")
    if any(node.mixed_forwards for node in decode.values()):
        notes.append(MIXED_NOTE)
    retractions = sum(node.retractions for node in decode.values())
    if retractions:
        notes.append(f"{retractions} retractions: a KV pool ran out of pages while decoding")
    if turns.clipped_prompts:
        notes.append(
            f"{turns.clipped_prompts:,} of {turns.count:,} prompts clipped to the context length:"
            f" {turns.clipped_tokens:,} tokens left out"
        )
    missed = sum(not _found_preload(spec, turns, turn) for turn in turns.preloads)
    if missed:
        notes.append(f"{missed} turns did not find all of their preloaded prefix: a KV pool was too full")
    return notes


def _found_preload(spec: ClusterSpec, turns: Turns, turn: int) -> bool:
    """Return whether a first turn reused all that was put in place for it; true if it has no answer."""
    if turns.status[turn] != OK:
        return True
    preload, handed = turns.preloads[turn], turns.handed[turn]
    if (not handed or spec.disaggregation_decode_enable_radix_cache) and turns.cached[turn] < preload.cached_tokens:
        return False
    # The last page of a prompt is computed, whatever P has.
    most = turns.prompt[turn] - spec.nodes[turns.prefill_node[turn]].model.page_size_tokens
    return not handed or turns.prefill_cached[turn] >= min(preload.prefill_cached_tokens, most)
