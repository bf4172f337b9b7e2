"""Leave-one-out errors: how well the curves predict cells they have not seen.

A left-out L (or m) leaves every kind and arm at once, because the P arms contain the append curve; decode leaves out
one batch, then one context. Errors of both splits are pooled.

A value is left out only where the cells that stay can still be fitted: appends, decode steps and stalls, which every
curve is built from, and a hand-off that is scored, each keep at least as many cells as the fit has terms. Elsewhere a
refit would give back where its search starts, so nothing is scored and the axis is named as untested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ppdsim.cost.base import Array
from ppdsim.fit.cells import Cells, Grid
from ppdsim.fit.curves import terms
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, arm_name

Fit = Callable[[Grid], TurnModel]
AXES: Mapping[str, str] = {
    "cached_tokens": "cached_tokens",
    "new_tokens": "new_tokens",
    "batch": "batch",
    "context_column": "context_tokens",
}
"""What is left out in turn: a column of cells, and the axis of a domain that it stands for."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidated:
    """What was left out of refits, by kind and arm, and the axes along which no value of one could be left out."""

    tested: Mapping[str, LeftOut]
    untested: Mapping[str, tuple[str, ...]]


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
    for column in tuple(AXES)[:2]:
        values = np.concatenate([getattr(group, column) for group in (cells.append, *cells.handoffs, cells.stall)])
        for value in np.unique(values):
            yield column, float(value)
    for column in tuple(AXES)[2:]:
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
    """Yield (column, value, model): a model that has seen no cell with that value in that column, or in `only` one.

    Values without which a common curve cannot be fitted are passed over; a hand-off that cannot is not in the model.
    """
    for column, value in splits(cells):
        if only not in (None, column):
            continue

        def keep(group: Cells, column: str = column, value: float = value) -> Cells:
            return group.pick(_column(group, column) != value) if _applies(group, column) else group

        left = cells.each(keep)
        left = replace(left, handoffs=tuple(filter(_can_be_fitted, left.handoffs)))
        if all(_can_be_fitted(group) for group in (left.append, left.decode, left.stall)):
            yield column, value, fit(left)


def _can_be_fitted(group: Cells) -> bool:
    return len(group) >= terms(group)


def leave_one_out(cells: Grid, fit: Fit) -> CrossValidated:
    """Refit without each L, m, batch and context in turn and predict what was left out, by kind and arm."""
    parts: dict[str, list[tuple[Cells, Array, int]]] = {}
    tested: set[tuple[str, str]] = set()
    for number, (column, value, model) in enumerate(left_out_fits(cells, fit)):
        for group in cells.all():
            if _applies(group, column) and _is_in(model, group):
                out = group.pick(_column(group, column) == value)
                if len(out):
                    tested.add((name_of(group), column))
                    parts.setdefault(name_of(group), []).append((out, predict_cells(model, out), number))
    untested = {
        name_of(group): tuple(
            axis for column, axis in AXES.items() if _applies(group, column) and (name_of(group), column) not in tested
        )
        for group in cells.all()
    }
    return CrossValidated(
        tested={name: _join(found) for name, found in parts.items()},
        untested={name: axes for name, axes in untested.items() if axes},
    )


def _is_in(model: TurnModel, group: Cells) -> bool:
    return group.arm is Arm.APPEND_D or (group.arm, group.transport) in model.handoffs


def _join(found: list[tuple[Cells, Array, int]]) -> LeftOut:
    first, *others = (part for part, _, _ in found)
    return LeftOut(
        cells=first.joined(others),
        predicted_s=np.concatenate([predicted for _, predicted, _ in found]),
        split=np.concatenate([np.full(len(part), number) for part, _, number in found]),
    )
