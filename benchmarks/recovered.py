"""Did a calibration of a stand-in give back the profile that drives it? Cell by cell, not parameter by parameter.

Two sets of parameters may say the same of every cell that was measured, so they are compared by what they predict.
Stalls by hand-offs are left out: their curve is one number, and what a cell shows of it is smaller than a step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ppdsim.fit.cells import cell_value
from ppdsim.measurements import DecodeRow, InterferenceRow, Measurements, PrefillRow
from ppdsim.metrics import median
from ppdsim.turn import TurnModel
from ppdsim.types import Arm

Compared = PrefillRow | DecodeRow | InterferenceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredCell:
    """One cell: what the driving profile says, what was measured, and what the fitted profile says [s]."""

    cell: str
    driven_s: float
    measured_s: float
    fitted_s: float

    @property
    def measured_error(self) -> float:
        """What measuring added, relative to the driving profile [1]."""
        return self.measured_s / self.driven_s - 1.0

    @property
    def fitted_error(self) -> float:
        """How far the fitted profile is from the driving one, relative to that [1]."""
        return self.fitted_s / self.driven_s - 1.0


def recovered(measured: Measurements, *, driven: TurnModel, fitted: TurnModel) -> list[RecoveredCell]:
    """Return every cell of a run that has a value, fitted or held out, in the order of the file."""
    groups: dict[str, list[Compared]] = defaultdict(list)
    for row in _rows(measured):
        if not row.outlier and row.purpose != "probe":
            groups[row.cell].append(row)
    return [
        RecoveredCell(
            cell=cell,
            driven_s=median([_predicted(row, driven) for row in rows]),
            measured_s=cell_value(_value(row) for row in rows),
            fitted_s=median([_predicted(row, fitted) for row in rows]),
        )
        for cell, rows in groups.items()
    ]


def _rows(measured: Measurements) -> Iterable[Compared]:
    yield from measured.prefill
    yield from measured.decode
    yield from (row for row in measured.interference if row.arm is Arm.APPEND_D)


def _value(row: Compared) -> float:
    if isinstance(row, PrefillRow):
        return row.ttft_s
    return row.itl_median_s if isinstance(row, DecodeRow) else median(row.stall_gap_s)


def _predicted(row: Compared, model: TurnModel) -> float:
    if isinstance(row, PrefillRow):
        return float(model.ttft_s(row.arm, row.transport, float(row.cached_tokens), float(row.new_tokens)))
    context_tokens = row.prompt_tokens + row.generated_tokens
    if isinstance(row, DecodeRow):
        return float(model.decode.step_s(row.batch, row.batch * context_tokens))
    return float(model.stall_gap_s(float(row.cached_tokens), float(row.new_tokens), float(row.batch), context_tokens))
