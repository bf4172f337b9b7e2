"""From fitted curves to the records of a profile: values, draws, tags, and errors on cells that were left out.

The misfit is the relative spread of left-out cells beyond what the draws explain, chosen so that 90 % of them lie
inside the within-run interval; its coverage is counted with each split's own cells kept out of that choice. A curve of
which nothing could be left out has the prior `UNMEASURED_SIGMA` for its misfit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from ppdsim.compose import HALF_NORMAL_90, UNMEASURED_SIGMA
from ppdsim.cost.base import AbstractCurve, Array, Parameter
from ppdsim.fit.cells import Cells
from ppdsim.fit.crossval import LeftOut, predict_cells
from ppdsim.fit.known import known
from ppdsim.fit.mechanisms import prior_interval
from ppdsim.metrics import interval_90, median, quantile
from ppdsim.profile import CurveRecord, ErrorRecord, ParameterRecord
from ppdsim.profile.numbers import LARGEST_MISFIT
from ppdsim.transport.handoff import HandoffCurve
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Tag, Transport

SIGNIFICANT_DIGITS = 5
"""Digits kept of a draw: below the misfit by four orders, and the file stays small."""

CHOSEN_WHEN_FIXED = (
    "prefix_s", "wire_s_per_token", "fresh_wire_s_per_token", "early_share",
    "send_s", "request_result_s", "beside_send_s",
)  # fmt: skip
"""Hand-off terms that are fixed where cross-validation drops them, or the engine sends in one batch; other fixed
numbers come from timestamps."""


def _errors(relative: Array) -> ErrorRecord | None:
    signed = known(relative)
    if not len(signed):
        return None
    found = np.abs(signed)
    return ErrorRecord(
        median=_round(median(found)),
        p90=_round(float(quantile(found, 0.9))),
        maximum=_round(float(found.max())),
        bias=_round(median(signed)),
    )


def _round(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def _misfit(log_error: Array, log_spread: Array) -> float:
    """Return the sigma that, added to `log_spread` in squares, puts 90 % of the errors inside their interval."""
    if not len(log_error):
        return 0.0

    def beyond(sigma: float) -> float:
        return float(quantile(np.abs(log_error) / np.hypot(log_spread, sigma), 0.9)) - HALF_NORMAL_90

    if beyond(1e-6) <= 0.0:
        return 0.0
    if beyond(LARGEST_MISFIT) >= 0.0:
        return LARGEST_MISFIT
    return float(brentq(beyond, 1e-6, LARGEST_MISFIT, xtol=1e-6))


def inside_left_out(left_out: LeftOut, log_spread: Array) -> NDArray[np.bool_]:
    """Return which left-out cells lie inside their interval, the misfit coming from the other splits."""
    log_error = -np.log1p(left_out.error)
    inside = np.zeros(len(log_error), dtype=bool)
    for split in np.unique(left_out.split):
        here = left_out.split == split
        sigma = _misfit(log_error[~here], log_spread[~here])
        inside[here] = np.abs(log_error[here]) <= HALF_NORMAL_90 * np.hypot(log_spread[here], sigma)
    return inside


def _origin(parameter: Parameter, free: tuple[str, ...], assumed: tuple[str, ...]) -> Tag:
    """Return where a parameter's number comes from: an assumption that was measured after all is one no longer."""
    if parameter.name in assumed:
        return Tag.ASSUMED
    if parameter.name in free:
        return Tag.MEASURED
    return Tag.CHOSEN if parameter.name in CHOSEN_WHEN_FIXED else parameter.tag


def curve_record(
    curve: AbstractCurve,
    draws: list[AbstractCurve],
    free: tuple[str, ...],
    *,
    tag: Tag,
    assumed: tuple[str, ...] = (),
    cells: Cells | None,
    model: TurnModel,
    left_out: LeftOut | None,
    untested: tuple[str, ...] = (),
    spread: Callable[[Cells], Array],
    domain: Mapping[str, tuple[float, float]],
    arm: Arm | None = None,
    transport: Transport | None = None,
    misfit: float = 0.0,
) -> CurveRecord:
    """Return the record of a curve whose terms `free` were fitted and whose terms `assumed` no cell shows.

    `left_out` is None where nothing could be left out; `untested` are the axes along which that is so.
    """
    names = (*free, *(name for name in assumed if name not in free))
    table = np.array([[float(d.parameter_values()[name]) for name in names] for d in draws])
    parameters = []
    for p in curve.PARAMETERS:
        value = float(curve.parameter_values()[p.name])
        column = table[:, names.index(p.name)] if p.name in names and len(table) else np.array([value])
        origin = _origin(p, free, assumed)
        low, high = interval_90(column)
        parameters.append(
            ParameterRecord(
                name=p.name,
                value=_round(value),
                low=_round(float(low)),
                high=_round(float(high)),
                unit=p.unit,
                meaning=p.meaning,
                tag=tag if tag is not Tag.MEASURED and p.tag is not Tag.ASSUMED else origin,
                at_bound=p.name in free
                and p.name not in assumed
                and bool(np.isclose(value, p.low, atol=1e-12) or np.isclose(value, p.high)),
            )
        )
    coverage = None
    if left_out is not None:
        log_spread = spread(left_out.cells)
        misfit = _misfit(-np.log1p(left_out.error), log_spread)
        coverage = _round(float(np.mean(inside_left_out(left_out, log_spread))))
    elif cells is not None:
        misfit = UNMEASURED_SIGMA
    return CurveRecord(
        kind=curve.kind,
        arm=arm,
        transport=transport,
        tag=tag,
        parameters=tuple(parameters),
        draw_names=names if len(table) else (),
        draws=tuple(tuple(_round(float(x)) for x in row) for row in table),
        domain=dict(domain),
        cells=0 if cells is None else len(cells),
        in_sample=None if cells is None else _errors(predict_cells(model, cells) / cells.seconds - 1.0),
        left_out=None if left_out is None else _errors(left_out.error),
        repeat_noise=None if cells is None else _errors(cells.noise),
        misfit=_round(misfit),
        coverage_within_run=coverage,
        untested=untested,
    )


def mechanism_record(
    curve: HandoffCurve, model: TurnModel, arm: Arm, transport: Transport, built_from: CurveRecord
) -> CurveRecord:
    """Return the record of a hand-off that no cell shows: the times of the one it is built from, with named priors."""
    record = curve_record(
        curve,
        [],
        (),
        tag=Tag.MECHANISM,
        cells=None,
        model=model,
        left_out=None,
        spread=lambda cells: np.zeros(len(cells)),
        domain={},
        arm=arm,
        transport=transport,
        misfit=built_from.misfit,
    )
    parameters = zip(record.parameters, built_from.parameters, strict=True)
    return record.model_copy(update={"parameters": tuple(_with_prior(*pair) for pair in parameters)})


def _with_prior(parameter: ParameterRecord, source: ParameterRecord) -> ParameterRecord:
    """Return an unmeasured parameter with its named prior; shares and what is absent have none."""
    if not parameter.unit.startswith("s") or parameter.value == 0.0:
        return parameter
    stated = source if source.value == parameter.value else parameter
    low, high = prior_interval(parameter.value, stated.low, stated.high)
    return parameter.model_copy(update={"low": _round(low), "high": _round(high)})
