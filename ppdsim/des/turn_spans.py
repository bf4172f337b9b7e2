"""What a turn went through, one span after the other, from the columns of a run.

::

    turn = front end + [wait at the front end] + wait for KV pages + handshake + wait for a forward + prefill
           + KV transfer + join + decode

A turn that is prefilled where it decodes has no pages to wait for, no handshake and no transfer. The waits add up to
``queue_s``, prefill is ``prefill_s``, KV transfer is ``kv_transfer_exposed_s``, all before decode is ``ttft_s``. A turn
without an end has the spans that it reached, the last one open to the end of the run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from ppdsim.des.spec import ClusterSpec
from ppdsim.des.turns import OK, TIMED_OUT, Turns

FRONT_END, HELD, FOR_PAGES, HANDSHAKE = "front end", "wait at the front end", "wait for KV pages", "handshake"
FOR_FORWARD, PREFILL, TRANSFER, JOIN, DECODE = "wait for a forward", "prefill", "KV transfer", "join", "decode"


class Span(NamedTuple):
    """A part of a turn [s]."""

    name: str
    start_s: float
    end_s: float


def spans_of(spec: ClusterSpec, turns: Turns, turn: int, end_s: float) -> Iterator[Span]:
    """Yield the spans of a turn that was sent, in order; `end_s` is the end of the run."""
    names, borders = _borders(spec, turns, turn)
    start_s = turns.t_arrival[turn]
    gave_up = turns.status[turn] == TIMED_OUT
    if gave_up:
        admitted_s = turns.t_admitted[turn]
        reached_s = next(border for name, border in zip(names, borders, strict=True) if name == HELD)
        without_pages_s = reached_s + spec.disaggregation_bootstrap_timeout_s
        end_s = min(
            end_s,
            without_pages_s if math.isnan(admitted_s) else admitted_s + spec.disaggregation_waiting_timeout_s,
        )
    for name, border_s in zip(names, borders, strict=True):
        # P may go on with a turn that D has given up.
        if math.isnan(border_s) or (gave_up and border_s > end_s):
            yield Span(name, start_s, max(end_s, start_s))
            return
        # Columns of different origin may differ by a rounding error, so a border may lie before the last one.
        if border_s > start_s:
            yield Span(name, start_s, border_s)
            start_s = border_s


def _borders(spec: ClusterSpec, turns: Turns, turn: int) -> tuple[list[str], list[float]]:
    """Return the names of a turn's spans and where each ends; NaN where it has not come so far."""
    node = turns.decode_node[turn]
    if node < 0:
        return [HELD], [math.nan]
    front = spec.nodes[node].model.frontend
    held_s = turns.held_s.get(turn, 0.0)
    reached_s = turns.t_arrival[turn] + float(front.before_s(turns.prompt[turn]))
    done = turns.status[turn] == OK
    after_s = float(front.after_s())
    first_s = turns.t_first[turn] + after_s
    last_s = turns.t_last[turn] + after_s if done else math.nan
    # The wait comes first in time, but the share of the front end's own work in a wait is not told apart.
    names, borders = [FRONT_END, HELD], [reached_s, reached_s + held_s]
    if turns.handed[turn]:
        names += [FOR_PAGES, HANDSHAKE]
        borders += [turns.t_admitted[turn], turns.t_ready[turn]]
    names += [FOR_FORWARD, PREFILL]
    borders += [turns.t_prefill_start[turn], turns.t_prefill_end[turn]]
    if turns.handed[turn]:
        names.append(TRANSFER)
        borders.append(turns.kv_done[turn])
    return [*names, JOIN, DECODE], [*borders, first_s, last_s]
