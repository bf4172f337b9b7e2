"""A run as a Chrome trace: one JSON file that ui.perfetto.dev and chrome://tracing open.

One process a node (a lane for prefill forwards, one for decode stretches, counters for KV pages and queues), one for
the links (a lane a pair), one for the turns (a track a conversation, asynchronous spans from `ppdsim.des.turn_spans`).
Times are microseconds from the start of the run. Format: "Trace Event Format", Google, 2016; phases used: X (a span on
a lane), b and e (nested asynchronous spans), i (an instant), C (a counter), M (names).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from ppdsim.des.spec import ClusterSpec
from ppdsim.des.timeline import Stretch, Timeline
from ppdsim.des.turn_spans import FOR_FORWARD, FOR_PAGES, Span, spans_of
from ppdsim.des.turns import REJECTED, STATUS_NAMES, Turns
from ppdsim.files import write_whole
from ppdsim.types import NodeRole

US_PER_S = 1e6
"""Microseconds in a second [us/s]."""
FORWARDS, DECODE = 1, 2
"""Lanes of a node."""
DECODING = "streams that decode"
Event = dict[str, Any]


def write(path: Path, timeline: Timeline, provenance: Mapping[str, Any]) -> None:
    """Write a recorded run as a Chrome trace; the file appears whole or not at all."""
    document = {
        "traceEvents": events(timeline),
        "displayTimeUnit": "ms",
        "otherData": {key: str(value) for key, value in provenance.items()},
    }
    write_whole(path, orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY))


def events(timeline: Timeline) -> list[Event]:
    """Return the trace's events, names first, then in order of time.

    Raises
    ------
    ValueError
        If the timeline was not handed to a run.
    """
    if timeline.cluster is None:
        raise ValueError("a timeline that no run has recorded")
    spec, turns = timeline.cluster.spec, timeline.cluster.turns
    links, people = len(spec.nodes) + 1, len(spec.nodes) + 2
    end_s = _end_s(timeline, turns)
    spans = {turn: [*spans_of(spec, turns, turn, end_s)] for turn in range(turns.count) if _sent(turns, turn)}
    body = [
        *_forwards(timeline, turns),
        *_stretches(timeline),
        *_retractions(timeline, turns),
        *_transfers(timeline, spec, turns, links),
        *_turns(turns, spans, people),
        *_pages(timeline),
        *_queues(turns, spans),
    ]
    # The sort is stable: what begins and ends at one instant stays in its order.
    return [*_names(timeline, spec, links, people), *sorted(body, key=lambda event: event["ts"])]


def _sent(turns: Turns, turn: int) -> bool:
    return turns.t_arrival[turn] == turns.t_arrival[turn]


def _end_s(timeline: Timeline, turns: Turns) -> float:
    """Return the last moment that anything is known of [s]."""
    ends = (*(f.end_s for f in timeline.forwards), *(s.end_s for s in timeline.stretches))
    columns = (turns.t_arrival, turns.t_first, turns.t_last, turns.kv_done)
    known = (time for column in columns for time in column if time == time)
    return max((*ends, *known), default=0.0)


def _us(time_s: float) -> float:
    return time_s * US_PER_S


def _names(timeline: Timeline, spec: ClusterSpec, links: int, people: int) -> Iterator[Event]:
    processes = {number + 1: f"node {number} ({node.role.value})" for number, node in enumerate(spec.nodes)}
    for pid, name in {**processes, links: "links", people: "turns"}.items():
        yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name}}
        yield {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": {"sort_index": pid}}
    for number, node in enumerate(spec.nodes):
        yield _lane(number + 1, FORWARDS, "prefill forwards")
        if node.role is not NodeRole.P:
            yield _lane(number + 1, DECODE, "decode")
    for prefill, decode in sorted({(sent.prefill, sent.decode) for sent in timeline.transfers}):
        yield _lane(links, _pair(spec, prefill, decode), f"node {prefill} to node {decode}")


def _lane(pid: int, tid: int, name: str) -> Event:
    return {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}


def _pair(spec: ClusterSpec, prefill: int, decode: int) -> int:
    return 1 + prefill * len(spec.nodes) + decode


def _complete(pid: int, tid: int, name: str, start_s: float, end_s: float, args: Mapping[str, Any]) -> Event:
    ts = _us(start_s)
    return {"ph": "X", "pid": pid, "tid": tid, "name": name, "ts": ts, "dur": _us(end_s) - ts, "args": dict(args)}


def _forwards(timeline: Timeline, turns: Turns) -> Iterator[Event]:
    for node, start_s, end_s, pieces in timeline.forwards:
        tokens = sum(piece.tokens for piece in pieces)
        args = {
            "new_tokens": tokens,
            "cached_tokens": [piece.before for piece in pieces],
            "turns": [_label(turns, piece.turn) for piece in pieces],
        }
        yield _complete(node + 1, FORWARDS, f"forward of {tokens} tokens", start_s, end_s, args)


def _stretches(timeline: Timeline) -> Iterator[Event]:
    until_s: dict[int, float] = {}
    for node, start_s, end_s, _, steps, streams in timeline.stretches:
        args = {"streams": streams, "steps": steps}
        yield _complete(node + 1, DECODE, f"batch of {streams}", start_s, end_s, args)
        if until_s.get(node, start_s) < start_s:
            yield _counter(node, DECODING, until_s[node], {"streams": 0})
        yield _counter(node, DECODING, start_s, {"streams": streams})
        until_s[node] = end_s
    for node, end_s in until_s.items():
        yield _counter(node, DECODING, end_s, {"streams": 0})


def _retractions(timeline: Timeline, turns: Turns) -> Iterator[Event]:
    """Yield an instant for each retraction, at the start of the next decode step of its node."""
    by_node: dict[int, list[Stretch]] = {}
    for stretch in timeline.stretches:
        by_node.setdefault(stretch.node, []).append(stretch)
    for turn, pauses in turns.pauses.items():
        node = turns.decode_node[turn]
        log = by_node.get(node, [])
        for steps, _, _ in pauses:
            after = bisect_left(log, steps, key=lambda stretch: stretch.first_step)
            if after < len(log):
                where = {"pid": node + 1, "tid": DECODE, "ts": _us(log[after].start_s)}
                yield {"ph": "i", "s": "t", "name": "retraction", **where, "args": {"turn": _label(turns, turn)}}


def _transfers(timeline: Timeline, spec: ClusterSpec, turns: Turns, links: int) -> Iterator[Event]:
    for sent in timeline.transfers:
        args = {"turn": _label(turns, sent.turn), "tokens": sent.tokens}
        lane = _pair(spec, sent.prefill, sent.decode)
        yield _complete(links, lane, f"KV of {_label(turns, sent.turn)}", sent.start_s, sent.end_s, args)


def _label(turns: Turns, turn: int) -> str:
    return f"{turns.ids[turns.conversation[turn]]}:{turns.number[turn]}"


def _turns(turns: Turns, spans: Mapping[int, list[Span]], people: int) -> Iterator[Event]:
    for turn, parts in spans.items():
        # Turns that are sent at times may overlap, so they have a track of their own.
        track = turns.conversation[turn] if math.isnan(turns.sent[turn]) else f"sent-{turn}"
        common = {"pid": people, "tid": 0, "cat": "turn", "id": track}
        if turns.status[turn] == REJECTED:
            ts = _us(turns.t_arrival[turn])
            args = {"turn": _label(turns, turn), "input_tokens": turns.prompt[turn]}
            yield {"ph": "i", "s": "p", "pid": people, "tid": 0, "name": "rejected", "ts": ts, "args": args}
        elif parts:
            args = {
                "status": STATUS_NAMES[turns.status[turn]],
                "prefill_node": turns.prefill_node[turn],
                "decode_node": turns.decode_node[turn],
                "input_tokens": turns.prompt[turn],
                "cached_tokens": turns.cached[turn],
                "output_tokens": turns.output[turn],
            }
            name = f"turn {_label(turns, turn)}"
            yield {**common, "ph": "b", "name": name, "ts": _us(parts[0].start_s), "args": args}
            for part in parts:
                yield {**common, "ph": "b", "name": part.name, "ts": _us(part.start_s)}
                yield {**common, "ph": "e", "name": part.name, "ts": _us(part.end_s)}
            yield {**common, "ph": "e", "name": name, "ts": _us(parts[-1].end_s)}


def _counter(node: int, name: str, time_s: float, values: Mapping[str, int]) -> Event:
    return {"ph": "C", "pid": node + 1, "tid": 0, "name": name, "ts": _us(time_s), "args": dict(values)}


def _pages(timeline: Timeline) -> Iterator[Event]:
    for node, time_s, used, kept, free in timeline.pages:
        yield _counter(node, "KV pages", time_s, {"in use": used, "kept": kept, "free": free})


def _queues(turns: Turns, spans: Mapping[int, Iterable[Span]]) -> Iterator[Event]:
    """Yield how many turns wait at each node, whenever that changes."""
    changes: dict[tuple[int, str], list[tuple[float, int]]] = {}
    for turn, parts in spans.items():
        places = {FOR_PAGES: turns.decode_node[turn], FOR_FORWARD: turns.prefill_node[turn]}
        for part in parts:
            if part.name in places:
                of = changes.setdefault((places[part.name], part.name), [])
                of += [(part.start_s, 1), (part.end_s, -1)]
    for (node, name), steps in changes.items():
        waiting = 0
        for time_s, change in sorted(steps, key=lambda step: (step[0], -step[1])):
            waiting += change
            yield _counter(node, f"turns that {name}", time_s, {"turns": waiting})
