"""What the error of cells might go with: columns that a missing term would show in, and the rank correlation of each.

A fitted curve that lacks a mechanism leaves its trace in the residuals: an error that rises with the prompt's length
says front end, one that goes with the rows a captured graph pads says graphs, one with the rest of a page says pages.
Spearman's correlation of the signed error with each column points at it, and cannot tell columns apart that rise
together. Not modelled: columns that are not of the cell, such as the time of day. The measured time is none of
the columns: the error is divided by it, so that noise alone makes the two go together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from ppdsim.accuracy import Candidate, CellPoint
from ppdsim.cost.base import Array, pad_up
from ppdsim.engine_record import EngineRecord

FEWEST = 6
"""Cells below which a correlation says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Columns of the points of one kind, and the engine, its page and its chunk."""

    cached: Array
    new: Array
    batch: Array
    context: Array
    noise: Array
    page_tokens: int
    chunk_tokens: int
    engine: EngineRecord


def _padded(table: _Table) -> Array:
    if not table.new.any():
        return np.asarray(pad_up(table.batch, table.engine.decode_graph_sizes)) - table.batch
    return np.asarray(pad_up(table.new, table.engine.prefill_graph_sizes_tokens)) - table.new


COLUMNS: Mapping[str, tuple[str, Callable[[_Table], Array]]] = {
    "new tokens m": ("tokens", lambda t: t.new),
    "cached tokens L": ("tokens", lambda t: t.cached),
    "prompt L + m": ("tokens", lambda t: t.cached + t.new),
    "streams B": ("streams", lambda t: t.batch),
    "context of a stream": ("tokens", lambda t: t.context),
    "KV of all streams": ("tokens", lambda t: t.batch * t.context),
    "rows padded by a captured graph": ("rows", _padded),
    "rest of the last page": ("tokens", lambda t: (t.cached + t.new) % t.page_tokens),
    "chunks of the append": ("1", lambda t: np.ceil(t.new / t.chunk_tokens)),
    "repeat noise": ("1", lambda t: t.noise),
}
"""Candidates by name: unit, and the column."""


def candidates(
    points: Sequence[CellPoint], *, page_tokens: int, chunk_tokens: int, engine: EngineRecord
) -> tuple[Candidate, ...]:
    """Return every column that is not the same in all points, with its rank correlation with the signed error."""

    def column(name: str) -> Array:
        return np.array([getattr(point, name) for point in points], dtype=np.float64)

    table = _Table(
        cached=column("cached_tokens"),
        new=column("new_tokens"),
        batch=column("batch"),
        context=column("context_tokens"),
        noise=column("noise"),
        page_tokens=page_tokens,
        chunk_tokens=chunk_tokens,
        engine=engine,
    )
    places = np.stack([table.cached, table.new, table.batch, table.context], axis=-1)
    _, first, place = np.unique(places, axis=0, return_index=True, return_inverse=True)
    # A cell that two splits left out is one cell: twice the points would make chance look smaller than it is.
    error = np.bincount(place.ravel(), column("error")) / np.bincount(place.ravel())
    found = ((name, unit, np.asarray(values_of(table))) for name, (unit, values_of) in COLUMNS.items())
    return tuple(
        _candidate(name, unit, values, first, error) for name, unit, values in found if len(np.unique(values)) > 1
    )


def _candidate(name: str, unit: str, values: Array, first: NDArray[np.intp], error: Array) -> Candidate:
    """Return one column; `first` are the positions of the distinct cells, `error` their errors."""
    once = values[first]
    known = np.isfinite(once) & np.isfinite(error)
    rank, chance = None, None
    if known.sum() >= FEWEST and len(np.unique(once[known])) > 1 and len(np.unique(error[known])) > 1:
        test = spearmanr(once[known], error[known])
        rank, chance = float(test.statistic), float(test.pvalue)
    return Candidate(name=name, unit=unit, values=tuple(values.tolist()), rank_correlation=rank, chance=chance)
