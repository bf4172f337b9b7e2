"""From the columns of a run to :class:`~ppdsim.results.Results`."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim import metrics
from ppdsim.des import itl
from ppdsim.des.decode_node import AbstractDecodeNode
from ppdsim.des.spec import ClusterSpec
from ppdsim.des.turns import OK, STATUS_NAMES, Turns
from ppdsim.results import TURN_COLUMNS, Results
from ppdsim.types import Arm, NodeRole, Transport

PD_NOTE = "pD nodes (hand-offs and appends on one machine) are not in SGLang up to 0.5.23"
MIXED_NOTE = "assumed: the time of a mixed forward is put together from two curves; nobody has measured one"
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
    labels: Labels,
    *,
    interrupted: bool = False,
) -> Results:
    """Return the results of a run that has ended, or that somebody stopped."""
    status = np.frombuffer(bytes(turns.status), dtype=np.uint8)
    ok = status == OK
    nan = np.where(ok, 0.0, np.nan)  # added to a column, it empties the rows of turns without an answer
    node = _ints(turns.decode_node)
    after = np.array([*(float(n.model.frontend.after_s()) for n in spec.nodes), np.nan])[node]
    before_fixed = np.array([*(float(n.model.frontend.before_s(0)) for n in spec.nodes), np.nan])[node]
    before_token = np.array([*(float(n.model.frontend.before_s(1)) for n in spec.nodes), np.nan])[node] - before_fixed
    prompt, output = _ints(turns.prompt), _ints(turns.output)
    arrival = _floats(turns.t_arrival)
    first, last = _floats(turns.t_first) + after + nan, _floats(turns.t_last) + after
    start, end = _floats(turns.t_prefill_start), _floats(turns.t_prefill_end)
    handed = np.frombuffer(bytes(turns.handed), dtype=np.uint8) == 1
    reached = arrival + (before_fixed + before_token * prompt)
    # Before the engine may start: for pages on D, or at the front end.
    held = np.zeros(turns.count)
    held[list(turns.held_s)] = list(turns.held_s.values())
    early_wait = np.where(handed, _floats(turns.t_admitted), _floats(turns.t_ready)) - reached
    queue = np.maximum(early_wait, 0.0) + (start - _floats(turns.t_ready))  # no negative rounding errors
    cached, on_prefill = _ints(turns.cached), _ints(turns.prefill_cached)
    if not spec.decode_radix:
        cached = np.where(handed, on_prefill, cached)
    gaps = itl.rebuild(turns, {i: machine.log for i, machine in decode.items()})
    timings = {
        "t_arrival_s": arrival,
        "t_prefill_start_s": start,
        "t_first_token_s": first,
        "t_last_token_s": last,
        "queue_s": queue + nan,
        "kv_wait_s": np.where(handed, np.maximum(early_wait - held, 0.0), 0.0) + nan,
        "prefill_s": end - start,
        "kv_transfer_s": np.where(handed, _floats(turns.wire), 0.0) + nan,
        "kv_transfer_exposed_s": np.where(handed, _floats(turns.kv_done) - end, 0.0) + nan,
        "ttft_s": metrics.ttft_s(arrival, first),
        "tpot_s": metrics.tpot_s(first, last, output),
        "itl_p99_s": gaps.p99_s,
        "itl_max_s": gaps.max_s,
        "e2e_s": metrics.e2e_s(arrival, last),
        "resident_stall_s": _floats(turns.stall),
    }
    conversation = _ints(turns.conversation)
    ids = np.array(turns.ids, dtype=None if all(isinstance(i, int) for i in turns.ids) else np.str_)
    columns: dict[str, NDArray[Any]] = {
        **timings,
        "run_id": np.full(turns.count, labels.run_id),
        "seed": np.full(turns.count, labels.seed),
        "conversation_id": ids[conversation],
        "turn": _ints(turns.number),
        "request_id": np.array(
            [f"{turns.ids[c]}:{n}" for c, n in zip(turns.conversation, turns.number, strict=True)], dtype=np.str_
        ),
        "slo_class": np.full(turns.count, labels.slo_class),
        "arm": np.where(node < 0, "", np.where(handed, spec.handoff_arm.value, Arm.APPEND_D.value)),
        "transport": np.where(node < 0, "", np.where(handed, spec.transport.value, Transport.NONE.value)),
        "prefill_node": _ints(turns.prefill_node),
        "decode_node": node,
        "input_tokens": prompt,
        "cached_tokens": cached,
        "prefill_cached_tokens": on_prefill,
        "new_tokens": prompt - cached,
        "output_tokens": output,
        "slo_met": metrics.slo_met(timings, ok, labels.limits),
        "status": np.array(STATUS_NAMES)[status],
    }
    nowhere = np.zeros(turns.count, dtype=np.bool_)
    columns["extrapolated"] = nowhere if labels.outside is None else labels.outside(columns)
    return Results(
        turns={name: columns[name] for name in TURN_COLUMNS},
        itl_gaps_s=gaps.gaps_s,
        itl_counts=gaps.counts,
        limits=labels.limits,
        interrupted=interrupted,
        notes=(*labels.notes, *([INTERRUPTED_NOTE] if interrupted else []), *_notes(spec, turns, decode)),
        provenance=labels.provenance,
        decisions=None if labels.decisions is None else labels.decisions(),
    )


def _notes(spec: ClusterSpec, turns: Turns, decode: Mapping[int, AbstractDecodeNode]) -> list[str]:
    notes = []
    if any(node.role is NodeRole.PD for node in spec.nodes):
        notes.append(PD_NOTE)
    if any(node.mixed_forwards for node in decode.values()):
        notes.append(MIXED_NOTE)
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


def _floats(column: array[float]) -> NDArray[np.float64]:
    return np.array(column, dtype=np.float64)


def _ints(column: array[int]) -> NDArray[np.int64]:
    return np.array(column, dtype=np.int64)
