"""How long a plan takes, from a profile of another machine: printed before anything is measured.

Every cell costs its own time, a round trip of the client, and its share of warming the prefix; cells are measured
`least` times, which most need no more than, or once. A load goes on until the last of its conversations has ended, at
the times of an idle engine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ppdsim.calibrate.live.cells import Cell, DecodeCell, LoadCell, PrefillCell, StallCell, TransferCell
from ppdsim.calibrate.live.plan import DECODE_OUTPUT_TOKENS, INJECTED_TURNS, Plan, conversations_of, stall_prefixes
from ppdsim.calibrate.live.prefill import OUTPUT_TOKENS
from ppdsim.calibrate.live.stall import QUIET_TOKENS
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport

OVERHEAD_S = 0.05
"""Client, flush and verification of one cell [s]; the shipped grid's rows are that far apart beyond their own time."""
TRANSFER_S = 0.05
"""A transfer cell of no bytes [s]; this and the next: the real engine over TCP on two cores, host memory."""
TRANSFER_S_PER_BYTE = 1.5e-8
"""Filling, clearing, sending twice and checking one byte of a transfer cell [s/B]."""


def seconds_by_kind(
    cells: Sequence[Cell], model: TurnModel, plan: Plan, *, decode_radix: bool = False, once: bool = False
) -> Mapping[str, float]:
    """Return the estimated time of one service's cells by kind [s].

    Parameters
    ----------
    cells : sequence of Cell
        What is measured on the service.
    model : TurnModel
        Times of another machine.
    plan : Plan
        How often, and what the loads are.
    decode_radix : bool
        Whether D has a prefix cache.
    once : bool
        The first measurement of each cell only, instead of the `least` that the plan asks for.
    """
    out: dict[str, float] = defaultdict(float)
    prefixes = set()
    for cell in cells:
        if isinstance(cell, LoadCell):
            out[cell.kind] += _load_s(plan, cell, model)
            continue
        repeats = 1 if once else plan.repeats_for(cell).least
        out[cell.kind] += repeats * (_seconds(cell, model, decode_radix=decode_radix) + OVERHEAD_S)
        if isinstance(cell, PrefillCell) and cell.cached_tokens:
            # Arms of one pair of servers share it.
            prefixes.add((cell.arm is Arm.APPEND_D, cell.transport, cell.cached_tokens, repeats))
    for append, transport, cached, repeats in prefixes:
        arm = Arm.APPEND_D if append else Arm.P_FULL
        out["warming prefixes"] += repeats * _turn_s(model, arm, transport, 0, cached)
    return dict(out)


def _seconds(cell: Cell, model: TurnModel, *, decode_radix: bool) -> float:
    if isinstance(cell, PrefillCell):
        turn = _turn_s(model, cell.arm, cell.transport, cell.cached_tokens, cell.new_tokens)
        return turn + OUTPUT_TOKENS * _step_s(model, 1, cell.context_tokens)
    if isinstance(cell, DecodeCell):
        start = cell.batch * _turn_s(model, Arm.APPEND_D, Transport.NONE, 0, cell.prompt_tokens)
        return start + DECODE_OUTPUT_TOKENS * _step_s(model, cell.batch, cell.prompt_tokens)
    if isinstance(cell, StallCell):
        prefixes = stall_prefixes(cell, decode_radix=decode_radix)
        start = cell.batch * _turn_s(model, cell.arm, cell.transport, 0, cell.prompt_tokens)
        start += prefixes * _turn_s(model, cell.arm, cell.transport, 0, cell.cached_tokens)
        turn = _turn_s(model, cell.arm, cell.transport, cell.cached_tokens, cell.new_tokens)
        quiet = (INJECTED_TURNS + 2) * QUIET_TOKENS * _step_s(model, cell.batch, cell.prompt_tokens)
        return start + INJECTED_TURNS * turn + quiet
    if isinstance(cell, TransferCell):
        return TRANSFER_S + TRANSFER_S_PER_BYTE * cell.size_bytes
    return 0.0


def _load_s(plan: Plan, cell: LoadCell, model: TurnModel) -> float:
    """Return when the last conversation of a load ends [s], if none of them waited for another."""
    end_s = 0.0
    for conversation in conversations_of(plan, cell):
        time_s, held = conversation.arrival_s, 0
        for turn in conversation.turns:
            time_s += turn.think_s + _turn_s(model, cell.arm, cell.transport, held, turn.new_tokens)
            held += turn.new_tokens + turn.output_tokens
            time_s += turn.output_tokens * _step_s(model, 1, held)
        end_s = max(end_s, time_s)
    return end_s


def _turn_s(model: TurnModel, arm: Arm, transport: Transport, cached_tokens: int, new_tokens: int) -> float:
    """Return the TTFT of a turn; over a link that the profile does not know, what its forward takes and no more."""
    if not new_tokens:
        return 0.0
    if (arm, transport) not in model.handoffs:
        arm, transport = Arm.APPEND_D, Transport.NONE
    return float(np.asarray(model.ttft_s(arm, transport, float(cached_tokens), float(new_tokens))))


def _step_s(model: TurnModel, batch: int, context_tokens: int) -> float:
    return float(np.asarray(model.decode.step_s(float(batch), float(batch * context_tokens))))
