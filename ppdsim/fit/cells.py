"""Rows to cells: one cell is one point of the grid, its value the median over repeats.

Of two repeats that differ by more than a quarter the smaller one counts, because the larger is an accident (a
compile, a collection, a neighbour); the rule and both values stay visible in the repeat noise. Everything after this
module works on cells, so a bootstrap or a split can never separate repeats of one cell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ppdsim.cost.base import Array
from ppdsim.fit.known import known, median_of_known, or_nan
from ppdsim.measurements import DecodeRow, InterferenceRow, MeasuredRow, Measurements, PrefillRow
from ppdsim.metrics import median
from ppdsim.types import Arm, Transport

ACCIDENT_RATIO = 1.25
"""Ratio of two repeats above which the larger is an accident [1]; source: the measurement protocol of the grid."""

Purpose: TypeAlias = Literal["fit", "validation"]

R = TypeVar("R")
M = TypeVar("M", bound=MeasuredRow)


def cell_value(values: Iterable[float]) -> float:
    """Return the median, or the smaller of two values that differ by more than a quarter.

    >>> cell_value([1.0, 3.0]), cell_value([1.0, 1.2]), cell_value([3.0, 1.0, 2.0])
    (1.0, 1.1, 2.0)
    """
    found = sorted(values)
    if len(found) == 2 and found[1] > ACCIDENT_RATIO * found[0]:
        return found[0]
    return median(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Cells of one kind (and arm) as columns of equal length.

    Tokens, batch and context that do not apply are 0; seconds that no repeat has are nan (`ppdsim.fit.known`).
    """

    kind: str
    arm: Arm
    transport: Transport
    cached_tokens: Array
    new_tokens: Array
    prefill_cached_tokens: Array
    batch: Array
    context_tokens: Array
    seconds: Array
    noise: Array
    outside_s: Array
    after_s: Array
    short_itl_s: Array
    short_gaps: Array
    lost_s: Array

    def __len__(self) -> int:
        return len(self.seconds)

    def pick(self, index: NDArray[Any]) -> Cells:
        """Return the cells at `index` (a mask, or positions with repetition)."""
        return replace(self, **{name: getattr(self, name)[index] for name in COLUMNS})

    def joined(self, others: Iterable[Cells]) -> Cells:
        """Return these cells and others of the same kind behind them, under this arm."""
        groups = (self, *others)
        columns: dict[str, Any] = {name: np.concatenate([getattr(each, name) for each in groups]) for name in COLUMNS}
        return replace(self, **columns)


COLUMNS = tuple(name for name in Cells.__slots__ if name not in ("kind", "arm", "transport"))
"""What `Cells` has of each cell."""


def relative_spread(values: Iterable[float]) -> float:
    """Return (largest - smallest) / 2 over the median: the half-range of a cell's repeats; nan for one repeat."""
    found = list(values)
    if len(found) < 2:
        return float("nan")
    return 0.5 * (max(found) - min(found)) / median(found)


def _meant_for(rows: Iterable[M], purpose: Purpose) -> list[M]:
    """Return the rows of one purpose; neither probes nor outliers make cells."""
    return [row for row in rows if row.purpose == purpose and not row.outlier]


def _group(rows: Iterable[R], key: Callable[[R], tuple[float, ...]]) -> list[tuple[tuple[float, ...], list[R]]]:
    groups: dict[tuple[float, ...], list[R]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return sorted(groups.items(), key=lambda item: item[0])


def _columns(records: list[dict[str, float]]) -> dict[str, Array]:
    places = ("cached_tokens", "new_tokens", "prefill_cached_tokens", "batch", "context_tokens")
    seconds = ("seconds", "noise", "outside_s", "after_s", "short_itl_s", "short_gaps", "lost_s")
    absent = {**dict.fromkeys(places, 0.0), **dict.fromkeys(seconds, float("nan"))}
    return {
        name: np.array([record.get(name, without) for record in records], dtype=np.float64)
        for name, without in absent.items()
    }


def _outside(row: PrefillRow) -> float | None:
    """Return what the client waited outside the engine's forward [s]: TTFT less the server's own span."""
    if row.arm is Arm.APPEND_D:
        end = row.server_prefill_finished_s
        start = row.server_forward_entry_s
        return None if end is None or start is None else _possible(row.ttft_s - (end - start))
    entry = row.server_forward_entry_s
    return None if entry is None else _possible(row.ttft_s - entry)


def _after(row: PrefillRow) -> float | None:
    """Return the seconds from the engine's last own timestamp to its first response."""
    sent = row.server_first_response_s
    done = row.server_prefill_finished_s if row.arm is Arm.APPEND_D else row.server_forward_entry_s
    return None if sent is None or done is None else _possible(sent - done)


def _possible(seconds: float) -> float | None:
    """Return a difference of stamps, None where it is negative: stamps out of order tell nothing."""
    return seconds if seconds >= 0.0 else None


def prefill_cells(measured: Measurements, arm: Arm, transport: Transport, purpose: Purpose = "fit") -> Cells:
    """Return the idle-TTFT cells of one arm and transport."""
    rows = [row for row in _meant_for(measured.prefill, purpose) if row.arm is arm and row.transport is transport]

    def key(row: PrefillRow) -> tuple[float, ...]:
        on_p = row.cached_tokens if row.prefill_cached_tokens is None else row.prefill_cached_tokens
        return (row.cached_tokens, row.new_tokens, on_p)

    records = []
    for (cached, new, on_p), group in _group(rows, key):
        records.append(
            {
                "cached_tokens": cached,
                "new_tokens": new,
                "prefill_cached_tokens": on_p,
                "seconds": cell_value(row.ttft_s for row in group),
                "noise": relative_spread(row.ttft_s for row in group),
                "outside_s": or_nan(median_of_known(_outside(row) for row in group)),
                "after_s": or_nan(median_of_known(_after(row) for row in group)),
                "short_itl_s": or_nan(median_of_known(row.itl_s for row in group)),
                "short_gaps": median([row.output_tokens - 1 for row in group]),
            }
        )
    return Cells(kind="prefill", arm=arm, transport=transport, **_columns(records))


def _context(group: list[DecodeRow] | list[InterferenceRow]) -> float:
    """Return the context of each stream in a cell [tokens]: its prompt, and what its repeats had generated."""
    return median([row.prompt_tokens + row.generated_tokens for row in group])


def decode_cells(measured: Measurements, purpose: Purpose = "fit") -> Cells:
    """Return the inter-token cells; `context_tokens` is per stream, prompt and generated."""

    def key(row: DecodeRow) -> tuple[float, ...]:
        return (row.batch, row.prompt_tokens)

    records = [
        {
            "batch": batch,
            "context_tokens": _context(group),
            "seconds": cell_value(row.itl_median_s for row in group),
            "noise": relative_spread(row.itl_median_s for row in group),
        }
        for (batch, _), group in _group(_meant_for(measured.decode, purpose), key)
    ]
    return Cells(kind="decode", arm=Arm.APPEND_D, transport=Transport.NONE, **_columns(records))


def _value_of_known(values: Iterable[float]) -> float:
    """Return the value of a cell, nan where no repeat has one."""
    found = known(values).tolist()
    return cell_value(found) if found else float("nan")


def _lost(row: InterferenceRow) -> Iterator[float]:
    """Yield what each turn took from a stream over its whole window: time beyond as many undisturbed steps [s]."""
    for window_s, gaps in zip(row.window_sum_s, row.window_gaps, strict=True):
        yield window_s - gaps * row.itl_base_s


def stall_cells(measured: Measurements, arm: Arm, transport: Transport, purpose: Purpose = "fit") -> Cells:
    """Return the stall-gap cells: the largest gap that an append (or a hand-off) opens in resident streams."""

    def key(row: InterferenceRow) -> tuple[float, ...]:
        return (row.batch, row.prompt_tokens, row.cached_tokens, row.new_tokens)

    records = []
    for (batch, _, cached, new), group in _group(
        [r for r in _meant_for(measured.interference, purpose) if r.arm is arm and r.transport is transport], key
    ):
        gaps = [gap for row in group for gap in row.stall_gap_s]
        records.append(
            {
                "batch": batch,
                "context_tokens": _context(group),
                "cached_tokens": cached,
                "new_tokens": new,
                "seconds": cell_value(gaps),
                "noise": relative_spread(gaps),
                "lost_s": _value_of_known(lost for row in group for lost in _lost(row)),
            }
        )
    return Cells(kind="stall", arm=arm, transport=transport, **_columns(records))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """All cells of one run, by kind; `handoffs` has one entry an arm and transport that was measured.

    `handoff_stall` are hand-offs that arrived at decoding streams, over every transport; often empty.
    """

    append: Cells
    decode: Cells
    stall: Cells
    handoffs: tuple[Cells, ...]
    handoff_stall: Cells

    def all(self) -> tuple[Cells, ...]:
        """Return every group of cells that a curve is scored on, appends first."""
        return (self.append, *self.handoffs, self.decode, self.stall)

    def each(self, change: Callable[[Cells], Cells]) -> Grid:
        """Return the grid of what `change` makes of each group of cells, in the order of the fields."""
        return Grid(
            append=change(self.append),
            decode=change(self.decode),
            stall=change(self.stall),
            handoffs=tuple(map(change, self.handoffs)),
            handoff_stall=change(self.handoff_stall),
        )


def grid(measured: Measurements, purpose: Purpose = "fit") -> Grid:
    """Return the cells of a run that were measured to be fitted, or those that were held out (``validation``)."""
    pairs = sorted(
        {(r.arm, r.transport) for r in _meant_for(measured.prefill, purpose) if r.arm is not Arm.APPEND_D},
        key=lambda pair: (pair[0].value, pair[1].value),
    )
    return Grid(
        append=prefill_cells(measured, Arm.APPEND_D, Transport.NONE, purpose),
        decode=decode_cells(measured, purpose),
        stall=stall_cells(measured, Arm.APPEND_D, Transport.NONE, purpose),
        handoffs=tuple(prefill_cells(measured, arm, transport, purpose) for arm, transport in pairs),
        # Whatever arm they are of.
        handoff_stall=Cells(kind="stall", arm=Arm.P_FULL, transport=Transport.NONE, **_columns([])).joined(
            stall_cells(measured, arm, transport, purpose) for arm, transport in pairs
        ),
    )
