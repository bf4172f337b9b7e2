"""How long a plan takes, from a profile of another machine: printed before anything is measured.

Every cell costs its own time, a round trip of the client, and its share of warming the prefix; cells are repeated
`least` times, which most need no more than.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ppdsim.calibrate.live.cells import Cell, DecodeCell, LoadCell, PrefillCell, StallCell
from ppdsim.calibrate.live.plan import DECODE_OUTPUT_TOKENS, Plan
from ppdsim.calibrate.live.prefill import OUTPUT_TOKENS
from ppdsim.calibrate.live.stall import INJECTED_TURNS, QUIET_TOKENS
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport

OVERHEAD_S = 0.05
"""Client, flush and verification of one cell [s]; the shipped grid's rows are that far apart beyond their own time."""
CHAT_TAIL_S = 20.0
"""How long a load goes on after its last arrival [s]: a few turns with their think times."""


def seconds_by_kind(cells: Sequence[Cell], model: TurnModel, plan: Plan) -> Mapping[str, float]:
    """Return the estimated time of a plan's cells by kind [s]."""
    out: dict[str, float] = defaultdict(float)
    prefixes = set()
    for cell in cells:
        if isinstance(cell, LoadCell):
            out[cell.kind] += cell.conversations / cell.rate_per_s + CHAT_TAIL_S
            continue
        repeats = plan.repeats_for(cell).least
        out[cell.kind] += repeats * (_seconds(cell, model) + OVERHEAD_S)
        if isinstance(cell, PrefillCell) and cell.cached_tokens:
            # Arms of one pair of servers share it.
            prefixes.add((cell.arm is Arm.APPEND_D, cell.transport, cell.cached_tokens, repeats))
    for append, transport, cached, repeats in prefixes:
        arm = Arm.APPEND_D if append else Arm.P_FULL
        out["warming prefixes"] += repeats * _turn_s(model, arm, transport, 0, cached)
    return dict(out)


def _seconds(cell: Cell, model: TurnModel) -> float:
    if isinstance(cell, PrefillCell):
        turn = _turn_s(model, cell.arm, cell.transport, cell.cached_tokens, cell.new_tokens)
        return turn + OUTPUT_TOKENS * _step_s(model, 1, cell.context_tokens)
    if isinstance(cell, DecodeCell):
        start = cell.batch * _turn_s(model, Arm.APPEND_D, Transport.NONE, 0, cell.prompt_tokens)
        return start + DECODE_OUTPUT_TOKENS * _step_s(model, cell.batch, cell.prompt_tokens)
    if isinstance(cell, StallCell):
        # A prefix for each turn where D has to lack it, which is emptied with its cache.
        prefixes = INJECTED_TURNS if cell.arm is Arm.P_FULL else 1
        start = cell.batch * _turn_s(model, cell.arm, cell.transport, 0, cell.prompt_tokens)
        start += prefixes * _turn_s(model, cell.arm, cell.transport, 0, cell.cached_tokens)
        turn = _turn_s(model, cell.arm, cell.transport, cell.cached_tokens, cell.new_tokens)
        quiet = (INJECTED_TURNS + 2) * QUIET_TOKENS * _step_s(model, cell.batch, cell.prompt_tokens)
        return start + INJECTED_TURNS * turn + quiet
    return 0.0


def _turn_s(model: TurnModel, arm: Arm, transport: Transport, cached_tokens: int, new_tokens: int) -> float:
    """Return the TTFT of a turn; over a link that the profile does not know, what its forward takes and no more."""
    if not new_tokens:
        return 0.0
    if (arm, transport) not in model.handoffs:
        arm, transport = Arm.APPEND_D, Transport.NONE
    return float(np.asarray(model.ttft_s(arm, transport, float(cached_tokens), float(new_tokens))))


def _step_s(model: TurnModel, batch: int, context_tokens: int) -> float:
    return float(np.asarray(model.decode.step_s(float(batch), float(batch * context_tokens))))
