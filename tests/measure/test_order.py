"""The order of a run: nothing lost, prefixes shared, repeats not in the same place twice."""

from __future__ import annotations

import numpy as np

from ppdsim.measure.cells import LoadCell, PrefillCell
from ppdsim.measure.order import CELLS_OF_A_BLOCK, blocks_of
from ppdsim.measure.plan import cells_of, load_plan
from ppdsim.types import Arm, Transport

CELLS = cells_of(load_plan("full"), Arm.APPEND_D, Transport.NONE)


def test_every_cell_is_in_exactly_one_block():
    blocks = blocks_of(CELLS, np.random.default_rng(0))
    assert sorted(cell.key for block in blocks for cell in block.cells) == sorted(cell.key for cell in CELLS)


def test_a_block_shares_its_prefix_or_is_short():
    for block in blocks_of(CELLS, np.random.default_rng(0)):
        if block.cached_tokens is not None:
            assert {cell.cached_tokens for cell in block.cells} == {block.cached_tokens}
        elif not isinstance(block.cells[0], LoadCell):
            assert len(block.cells) <= CELLS_OF_A_BLOCK
            assert len({type(cell) for cell in block.cells}) == 1


def test_rounds_differ_and_a_seed_repeats_them():
    rng = np.random.default_rng(1)
    first, second = blocks_of(CELLS, rng), blocks_of(CELLS, rng)
    assert first != second
    assert blocks_of(CELLS, np.random.default_rng(1)) == first


def test_loads_come_first():
    blocks = blocks_of(CELLS, np.random.default_rng(0))
    assert isinstance(blocks[0].cells[0], LoadCell)
    assert not any(isinstance(cell, LoadCell) for block in blocks[1:] for cell in block.cells)
    without = blocks_of([cell for cell in CELLS if isinstance(cell, PrefillCell)], np.random.default_rng(0))
    assert all(block.cells for block in without)


def test_full_hand_offs_come_after_those_that_need_what_they_empty():
    pair = [cell for arm in (Arm.P_FULL, Arm.P_DELTA) for cell in cells_of(load_plan("quick"), arm, Transport.TCP)]
    blocks = [b for b in blocks_of(pair, np.random.default_rng(0)) if isinstance(b.cells[0], PrefillCell)]
    assert sum(len(block.cells) for block in blocks) == sum(isinstance(cell, PrefillCell) for cell in pair)
    for block in blocks:
        full = [cell.arm is Arm.P_FULL for cell in block.cells]
        assert full == sorted(full)
        assert set(full) == {True, False}
