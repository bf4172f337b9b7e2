"""How long a plan takes, from a profile of another machine: printed before anything is measured.

Every cell costs its own time, a round trip of the client, and its share of warming the prefix; cells are repeated
`least` times, which most need no more than.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ppdsim.calibrate.live.cells import Cell, DecodeCell, LoadCell, PrefillCell, StallCell
from ppdsim.calibrate.live.plan import DECODE_OUTPUT_TOKENS
from ppdsim.calibrate.live.prefill import OUTPUT_TOKENS
from ppdsim.calibrate.live.stall import INJECTED_TURNS, QUIET_TOKENS
from ppdsim.turn import TurnModel
from ppdsim.types import Arm

OVERHEAD_S = 0.05
"""Client, flush and verification of one cell [s]; the shipped grid's rows are that far apart beyond their own time."""
CHAT_TAIL_S = 20.0
"""How long a load goes on after its last arrival [s]: a few turns with their think times."""


def seconds_by_kind(cells: Sequence[Cell], model: TurnModel, repeats: int) -> Mapping[str, float]:
    """Return the estimated time of a plan's cells by kind [s]."""
    out: dict[str, float] = defaultdict(float)
    prefixes = set()
    for cell in cells:
        kind = cell.key.split("/")[1]
        if isinstance(cell, LoadCell):
            out[kind] += cell.conversations / cell.rate_per_s + CHAT_TAIL_S
            continue
        out[kind] += repeats * (_seconds(cell, model) + OVERHEAD_S)
        if isinstance(cell, PrefillCell) and cell.cached_tokens:
            prefixes.add((cell.arm, cell.cached_tokens))
    for _, cached in prefixes:
        out["warming prefixes"] += repeats * _prefill_s(model, 0, cached)
    return dict(out)


def _seconds(cell: Cell, model: TurnModel) -> float:
    if isinstance(cell, PrefillCell):
        step = _step_s(model, 1, cell.context_tokens)
        # What a hand-off takes beside its forward is its wire, at the slowest link of the profile.
        moved = cell.cached_tokens + cell.new_tokens if cell.arm is Arm.P_FULL else 0
        return _prefill_s(model, cell.cached_tokens, cell.new_tokens) + _link_s(model, moved) + OUTPUT_TOKENS * step
    if isinstance(cell, DecodeCell):
        start = cell.batch * _prefill_s(model, 0, cell.prompt_tokens)
        return start + DECODE_OUTPUT_TOKENS * _step_s(model, cell.batch, cell.prompt_tokens)
    if isinstance(cell, StallCell):
        start = cell.batch * _prefill_s(model, 0, cell.prompt_tokens) + _prefill_s(model, 0, cell.cached_tokens)
        turn = _prefill_s(model, cell.cached_tokens, cell.new_tokens)
        quiet = (INJECTED_TURNS + 2) * QUIET_TOKENS * _step_s(model, cell.batch, cell.prompt_tokens)
        return start + INJECTED_TURNS * turn + quiet
    return 0.0


def _prefill_s(model: TurnModel, cached_tokens: int, new_tokens: int) -> float:
    if not new_tokens:
        return 0.0
    return float(np.asarray(model.append_ttft_s(float(cached_tokens), float(new_tokens))))


def _step_s(model: TurnModel, batch: int, context_tokens: int) -> float:
    return float(np.asarray(model.decode.step_s(float(batch), float(batch * context_tokens))))


def _link_s(model: TurnModel, tokens: int) -> float:
    slowest = max((float(np.asarray(c.wire_s(float(tokens), 0.0))) for c in model.handoffs.values()), default=0.0)
    return slowest if tokens else 0.0
