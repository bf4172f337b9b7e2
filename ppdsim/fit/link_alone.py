"""What the link alone says beside the hand-offs' own slope: evidence for the card, never fitted into a curve.

Transfers of the engine alone (rows of kind ``transfer``) are no part of a profile's fit, its draws or its held-out
cells: a hand-off over a busy engine is another thing than bytes over an idle link. Where a run has enough of them, one
sentence a link and memory sets what a token of KV takes alone beside what it takes in the fitted hand-offs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ppdsim.fit.wire import FEWEST_CELLS, fit_wire
from ppdsim.measurements import TransferRow
from ppdsim.turn import TurnModel
from ppdsim.types import Transport, arm_name

LONG_TOKENS = 1e6
"""Tokens held by D at which a hand-off's extra for fresh ones has gone."""


def link_notes(rows: Sequence[TransferRow], model: TurnModel) -> tuple[str, ...]:
    """Return a sentence for each transport and memory of `rows` with enough cells for a curve.

    Parameters
    ----------
    rows : sequence of TransferRow
        Transfers of one run.
    model : TurnModel
        What the same run's hand-offs were fitted to.
    """
    groups: dict[tuple[Transport, str], list[TransferRow]] = defaultdict(list)
    for row in rows:
        if row.purpose == "fit" and not row.outlier:
            groups[row.transport, row.memory].append(row)
    return tuple(
        _note(group, model, *link)
        for link, group in sorted(groups.items(), key=lambda item: (item[0][0].value, item[0][1]))
        if len({(row.size_bytes, row.blocks) for row in group}) >= FEWEST_CELLS
    )


def _note(rows: Sequence[TransferRow], model: TurnModel, transport: Transport, memory: str) -> str:
    fitted = fit_wire(rows)
    byte_s = float(np.asarray(fitted.curve.byte_s))
    block_s = float(np.asarray(fitted.curve.block_s))
    token_us = byte_s * model.kv_bytes_per_token * 1e6
    slopes = [
        f"{float(np.asarray(curve.wire_s(1.0, LONG_TOKENS))) * 1e6:.3g} us in {arm_name(arm, over)}"
        for (arm, over), curve in model.handoffs.items()
        if over is transport
    ]
    return (
        f"the link alone over {transport.value}, {memory} memory ({fitted.cells} cells, {fitted.left_out_median:.1%} "
        f"median error of a left-out one): the bytes of a token of KV take {token_us:.3g} us, each block "
        f"{block_s * 1e6:.3g} us; fitted to hand-offs, a token takes {' and '.join(slopes) or 'unknown time'} "
        "(evidence only: no part of the fit)"
    )
