"""Leave-one-out errors: how well the curves predict cells they have not seen.

A left-out L (or m) leaves every kind and arm at once, because the P arms contain the append curve; decode leaves out
one batch, then one context. Errors of both splits are pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ppdsim.calibrate.cells import Cells, Grid
from ppdsim.cost.base import Array
from ppdsim.turn import TurnModel
from ppdsim.types import arm_name

Fit = Callable[[Grid], TurnModel]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Cells of one kind and arm, with what was predicted when each was left out; one entry a cell and split."""

    cells: Cells
    predicted_s: Array
    split: Array

    @property
    def error(self) -> Array:
        """Return predicted over measured less 1."""
        return self.predicted_s / self.cells.seconds - 1.0


def predict_cells(model: TurnModel, cells: Cells) -> Array:
    """Return the model's seconds for each cell; with draws in the model, shape (draws, cells)."""
    if cells.kind == "prefill":
        found = model.ttft_s(
            cells.arm, cells.transport, cells.cached_tokens, cells.new_tokens, cells.prefill_cached_tokens
        )
    elif cells.kind == "decode":
        found = model.decode.step_s(cells.batch, cells.batch * cells.context_tokens)
    else:
        found = model.stall_gap_s(cells.cached_tokens, cells.new_tokens, cells.batch, cells.context_tokens)
    return np.asarray(found)


def name_of(cells: Cells) -> str:
    """Return the name tables print: ``append-d``, ``p-full:tcp``, ``decode``, ``stall``."""
    if cells.kind != "prefill":
        return cells.kind
    return arm_name(cells.arm, cells.transport)


def splits(cells: Grid) -> Iterator[tuple[str, float]]:
    """Yield every (column, value) that is left out in turn."""
    for column in ("cached_tokens", "new_tokens"):
        values = np.concatenate([getattr(group, column) for group in (cells.append, *cells.handoffs, cells.stall)])
        for value in np.unique(values):
            yield column, float(value)
    for column in ("batch", "context_column"):
        for value in np.unique(_column(cells.decode, column)):
            yield column, float(value)


def _column(cells: Cells, column: str) -> Array:
    if column == "context_column":
        # Prompts of one length have generated a little more in large batches; 256-token bins put them together.
        return np.round(cells.context_tokens / 256.0)
    return np.asarray(getattr(cells, column))


def _applies(cells: Cells, column: str) -> bool:
    return (cells.kind == "decode") == (column in ("batch", "context_column"))


def left_out_fits(cells: Grid, fit: Fit, *, only: str | None = None) -> Iterator[tuple[str, float, TurnModel]]:
    """Yield (column, value, model): a model that has seen no cell with that value in that column, or in `only` one."""
    for column, value in splits(cells):
        if only not in (None, column):
            continue

        def keep(group: Cells, column: str = column, value: float = value) -> Cells:
            return group.pick(_column(group, column) != value) if _applies(group, column) else group

        model = fit(
            Grid(
                append=keep(cells.append),
                decode=keep(cells.decode),
                stall=keep(cells.stall),
                handoffs=tuple(keep(group) for group in cells.handoffs),
                handoff_stall=keep(cells.handoff_stall),
            )
        )
        yield column, value, model


def leave_one_out(cells: Grid, fit: Fit) -> Mapping[str, LeftOut]:
    """Refit without each L, m, batch and context in turn and predict what was left out, by kind and arm."""
    parts: dict[str, list[tuple[Cells, Array, int]]] = {}
    for number, (column, value, model) in enumerate(left_out_fits(cells, fit)):
        for group in cells.all():
            if _applies(group, column):
                out = group.pick(_column(group, column) == value)
                if len(out):
                    parts.setdefault(name_of(group), []).append((out, predict_cells(model, out), number))
    return {name: _join(found) for name, found in parts.items()}


def _join(found: list[tuple[Cells, Array, int]]) -> LeftOut:
    first = found[0][0]
    columns = {
        name: np.concatenate([getattr(part, name) for part, _, _ in found])
        for name in first.__slots__
        if name not in ("kind", "arm", "transport")
    }
    return LeftOut(
        cells=Cells(kind=first.kind, arm=first.arm, transport=first.transport, **columns),
        predicted_s=np.concatenate([predicted for _, predicted, _ in found]),
        split=np.concatenate([np.full(len(part), number) for part, _, number in found]),
    )
