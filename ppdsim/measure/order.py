"""The order of a calibration: repeats of a cell spread over the run, so that drift shows as a difference between them.

A round measures every cell once that is not settled. Within a round, cells that share a prefix form a block (warming
it costs a prefill of the whole prefix), decode cells and stall cells form blocks of their own; the blocks are shuffled,
and so are the cells of an arm in each. Drift inside a block cannot be told from its noise, drift between blocks can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppdsim.measure.cells import Cell, DecodeCell, LoadCell, PrefillCell, StallCell
from ppdsim.types import Arm

CELLS_OF_A_BLOCK = 6
"""Decode or stall cells in one block: some ten seconds, short against the drift that was seen within an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Cells measured back to back; `cached_tokens` is the prefix that they share, None where each has its own."""

    cached_tokens: int | None
    cells: tuple[Cell, ...]


def blocks_of(cells: Sequence[Cell], rng: np.random.Generator) -> list[Block]:
    """Return the blocks of one round, shuffled; before them the loads, in the order of the plan.

    A run that is cut off goes on with cells where it stopped; of a load it would have nothing.
    """
    out: list[Block] = []
    prefill = [cell for cell in cells if isinstance(cell, PrefillCell)]
    for cached in sorted({cell.cached_tokens for cell in prefill}):
        sharing = [cell for cell in prefill if cell.cached_tokens == cached]
        # Before a full hand-off D is emptied, so those that need its prefix come first.
        keeping, emptying = ([c for c in sharing if (c.arm is Arm.P_FULL) is full] for full in (False, True))
        out.append(Block(cached_tokens=cached, cells=_shuffled(keeping, rng) + _shuffled(emptying, rng)))
    for kind in (DecodeCell, StallCell):
        alone = _shuffled([cell for cell in cells if isinstance(cell, kind)], rng)
        starts = range(0, len(alone), CELLS_OF_A_BLOCK)
        out += [Block(cached_tokens=None, cells=alone[start : start + CELLS_OF_A_BLOCK]) for start in starts]
    shuffled = [out[i] for i in rng.permutation(len(out))]
    loads = tuple(cell for cell in cells if isinstance(cell, LoadCell))
    return [Block(cached_tokens=None, cells=loads), *shuffled] if loads else shuffled


def _shuffled(cells: Sequence[Cell], rng: np.random.Generator) -> tuple[Cell, ...]:
    return tuple(cells[i] for i in rng.permutation(len(cells)))
