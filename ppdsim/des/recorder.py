"""From the columns of a run to :class:`~ppdsim.results.Results`."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim import metrics
from ppdsim.columns import Columns, Names, Spelled
from ppdsim.des.decode_node import AbstractDecodeNode
from ppdsim.des.itl import TokenGaps
from ppdsim.des.spec import ClusterSpec
from ppdsim.des.turns import OK, STATUS_NAMES, Turns
from ppdsim.results import TURN_COLUMNS, Results
from ppdsim.types import Arm, NodeRole, Transport

PD_NOTE = "pD nodes (hand-offs and appends on one machine) are not in SGLang up to 0.5.23"
INTERRUPTED_NOTE = "interrupted: the unfinished turns were not simulated to their end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What results say beside the numbers: `outside` tells which turns the profile never saw, `decisions` the log."""

    run_id: str = "run"
    seed: int = 0
    slo_class: str = "default"
    limits: metrics.SloLimits = field(default_factory=metrics.SloLimits)
    outside: Callable[[Mapping[str, NDArray[Any]]], NDArray[np.bool_]] | None = None
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    decisions: Callable[[], Mapping[str, NDArray[Any]]] | None = None


def to_results(
    spec: ClusterSpec,
    turns: Turns,
    decode: Mapping[int, AbstractDecodeNode],
    gaps: TokenGaps,
    labels: Labels,
    *,
    interrupted: bool = False,
) -> Results:
    """Return the results of a run that has ended, or that somebody stopped."""
    gaps.close()
    status = np.frombuffer(turns.status, dtype=np.uint8) if turns.count else np.zeros(0, dtype=np.uint8)
    ok = status == OK
    nan = np.where(ok, 0.0, np.nan)  # added to a column, it empties the rows of turns without an answer
    node = _view(turns.decode_node)
    after = np.array([*(float(n.model.frontend.after_s()) for n in spec.nodes), np.nan])[node]
    prompt, output = _view(turns.prompt), _view(turns.output)
    arrival, stall = _view(turns.t_arrival), _view(turns.stall)
    first, last = _view(turns.t_first) + after + nan, _view(turns.t_last) + after
    start, end = _view(turns.t_prefill_start), _view(turns.t_prefill_end)
    handed = np.frombuffer(bytes(turns.handed), dtype=np.bool_)
    on_prefill = _view(turns.prefill_cached)
    cached = _view(turns.cached) if spec.decode_radix else np.where(handed, on_prefill, _view(turns.cached))
    timings = {
        "t_arrival_s": arrival,
        "t_prefill_start_s": start,
        "t_first_token_s": first,
        "t_last_token_s": last,
        "queue_s": _queue_s(spec, turns, handed) + nan,
        "prefill_s": end - start,
        "kv_transfer_s": np.where(handed, _view(turns.wire), 0.0) + nan,
        "kv_transfer_exposed_s": np.where(handed, _view(turns.kv_done) - end, 0.0) + nan,
        "ttft_s": metrics.ttft_s(arrival, first),
        "tpot_s": metrics.tpot_s(first, last, output),
        "itl_p99_s": gaps.p99_s,
        "itl_max_s": gaps.max_s,
        "e2e_s": metrics.e2e_s(arrival, last),
        "resident_stall_s": stall,
    }
    conversation, number = _view(turns.conversation), _view(turns.number)
    ids = np.array(turns.ids, dtype=None if all(isinstance(i, int) for i in turns.ids) else np.str_)

    def request_ids(rows: slice) -> NDArray[Any]:
        pairs = zip(ids[conversation[rows]].tolist(), number[rows].tolist(), strict=True)
        return np.array([f"{i}:{n}" for i, n in pairs], dtype=np.str_)

    itl_gaps_s, itl_counts = gaps.every.columns()
    went = np.where(node < 0, 0, np.where(handed, 1, 2)).astype(np.uint8)
    columns: dict[str, NDArray[Any] | Spelled] = {
        **timings,
        "run_id": np.broadcast_to(np.array(labels.run_id), turns.count),
        "seed": np.broadcast_to(np.array(labels.seed), turns.count),
        "conversation_id": lambda rows: ids[conversation[rows]],
        "turn": number,
        "request_id": request_ids,
        "slo_class": np.broadcast_to(np.array(labels.slo_class), turns.count),
        "arm": Names(codes=went, names=("", spec.handoff_arm.value, Arm.APPEND_D.value)),
        "transport": Names(codes=went, names=("", spec.transport.value, Transport.NONE.value)),
        "prefill_node": _view(turns.prefill_node),
        "decode_node": node,
        "input_tokens": prompt,
        "cached_tokens": cached,
        "prefill_cached_tokens": on_prefill,
        "new_tokens": prompt - cached,
        "output_tokens": output,
        "slo_met": metrics.slo_met(timings, ok, labels.limits),
        "status": Names(codes=status, names=STATUS_NAMES),
    }
    nowhere = np.zeros(turns.count, dtype=np.bool_)
    columns["extrapolated"] = nowhere if labels.outside is None else labels.outside(Columns(columns))
    return Results(
        turns=Columns({name: columns[name] for name in TURN_COLUMNS}),
        itl_gaps_s=itl_gaps_s,
        itl_counts=itl_counts,
        limits=labels.limits,
        interrupted=interrupted,
        notes=(*labels.notes, *([INTERRUPTED_NOTE] if interrupted else []), *_notes(spec, turns, decode)),
        provenance=labels.provenance,
        decisions=None if labels.decisions is None else labels.decisions(),
    )


def _queue_s(spec: ClusterSpec, turns: Turns, handed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the waits of every turn: for pages on D or at the front end, and for its first forward [s]."""
    fixed_s = np.array([*(float(n.model.frontend.before_s(0)) for n in spec.nodes), np.nan])
    token_s = np.array([*(float(n.model.frontend.before_s(1)) for n in spec.nodes), np.nan]) - fixed_s
    node, ready = _view(turns.decode_node), _view(turns.t_ready)
    reached = _view(turns.t_arrival) + (fixed_s[node] + token_s[node] * _view(turns.prompt))
    # Rounding must not make a wait negative.
    early_wait = np.where(handed, _view(turns.t_admitted), ready) - reached
    queue: NDArray[np.float64] = np.maximum(early_wait, 0.0) + (_view(turns.t_prefill_start) - ready)
    return queue


def _notes(spec: ClusterSpec, turns: Turns, decode: Mapping[int, AbstractDecodeNode]) -> list[str]:
    notes = []
    if any(node.role is NodeRole.PD for node in spec.nodes):
        notes.append(PD_NOTE)
    retractions = sum(node.retractions for node in decode.values())
    if retractions:
        notes.append(f"{retractions} retractions: a KV pool ran out of pages while decoding")
    missed = sum(not _found_preload(spec, turns, turn) for turn in turns.preloads)
    if missed:
        notes.append(f"{missed} turns did not find all of their preloaded prefix: a KV pool was too full")
    return notes


def _found_preload(spec: ClusterSpec, turns: Turns, turn: int) -> bool:
    """Return whether a first turn reused all that was put in place for it; true if it has no answer."""
    if turns.status[turn] != OK:
        return True
    preload, handed = turns.preloads[turn], turns.handed[turn]
    if (not handed or spec.decode_radix) and turns.cached[turn] < preload.cached_tokens:
        return False
    # The last page of a prompt is computed, whatever P has.
    most = turns.prompt[turn] - spec.page_of(spec.nodes[turns.prefill_node[turn]])
    return not handed or turns.prefill_cached[turn] >= min(preload.prefill_cached_tokens, most)


def _view(column: array[Any]) -> NDArray[Any]:
    """Return a column without copying it; an empty one has no memory to look at."""
    return np.frombuffer(column, dtype=column.typecode) if column else np.zeros(0, dtype=column.typecode)
