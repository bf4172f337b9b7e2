"""What the numbers of a profile may be: finite, within the bounds of their curve, and draws that fit together.

::

    low (1 - ROUNDING) <= value <= high (1 + ROUNDING)             `Parameter.low`, `Parameter.high` of the curve
    low / DERIVED <= value <= high DERIVED                         times of a profile that `ppdsim derive` made

A fit cannot leave its bounds, so a number beyond them was not fitted. Laws move a curve to machines and models that are
some times slower or faster than any that was measured, hence the wider bounds of its times; counts and shares keep
theirs. Every measured or derived curve has draws, all as many, one number a name.

Not modelled: whether the numbers are right. Source of the bounds: ``PARAMETERS`` in `ppdsim.cost` and
`ppdsim.transport`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from ppdsim.cost.base import Parameter
from ppdsim.curves import CURVES
from ppdsim.errors import ProfileError, nearest, unknown
from ppdsim.profile.records import CurveRecord, Drift, ErrorRecord, ParameterRecord, Profile
from ppdsim.types import Tag

ROUNDING = 1e-4
"""Share by which a number may pass a bound [1]: a profile keeps five significant digits of each."""
DERIVED = 100.0
"""Factor by which a derived number may pass the bounds of fits [1]: a model of 405 billion parameters on the slowest
GPU of calibration/hardware.yaml stays within it."""
LARGEST_MISFIT = 10.0
"""Relative one-sigma error above which a curve says nothing [1]; the search for it ends there."""
LARGEST_TOKENS = 1e9
"""End of any measured domain [tokens or streams]; far beyond what an engine holds."""
SLOWEST_DRIFT_S = 10.0
"""Largest launch floor that a drift may state [s]."""
LARGEST_FACTOR = 100.0
"""Largest factor between runs that a drift may state [1]."""
DOMAIN = ("batch", "cached_tokens", "context_tokens", "new_tokens")
"""Axes that a domain is stated on: the columns of points and cells."""

Bounds: TypeAlias = Mapping[str, tuple[float, float]]


def check_numbers(profile: Profile) -> None:
    """Refuse a profile whose numbers cannot be those of a fit.

    Raises
    ------
    ProfileError
        Naming the file, curve and parameter, the value and its bound.
    """
    problem = next(_problems(profile), None)
    if problem is not None:
        raise ProfileError(f"{profile.origin}: {problem}")


def _problems(profile: Profile) -> Iterator[str]:
    names = [record.name for record in profile.curves]
    for name in names:
        if names.count(name) > 1:
            yield f"{names.count(name)} curves '{name}', expected one"
    for record in profile.curves:
        if record.kind not in CURVES:
            yield str(unknown("curve", record.kind, CURVES))
            return
        derived = profile.derivation is not None
        bounds = {p.name: _range(p, derived=derived) for p in CURVES[record.kind].PARAMETERS}
        yield from _of_names(record, bounds)
        yield from _of_parameters(record, bounds)
        yield from _of_draws(record, bounds)
        yield from _of_quality(record)
        yield from _of_domain(record)
    yield from _of_draw_counts(profile)
    for drift in profile.drift:
        yield from _of_drift(drift, sum(d.quantity == drift.quantity for d in profile.drift))


def _of_names(record: CurveRecord, bounds: Bounds) -> Iterator[str]:
    names = [p.name for p in record.parameters]
    remedy = "'ppdsim fit' makes a new profile from its measurements"
    for name in names:
        if name not in bounds:
            yield f"curve '{record.name}': unknown parameter '{name}'{nearest(name, bounds)}; {remedy}"
        if names.count(name) > 1:
            yield f"curve '{record.name}': parameter '{name}' stands {names.count(name)} times"
    for name in bounds:
        if name not in names:
            yield f"curve '{record.name}': missing parameter '{name}'; {remedy}"


def _range(parameter: Parameter, *, derived: bool) -> tuple[float, float]:
    if derived and parameter.unit.startswith("s"):
        return parameter.low / DERIVED, parameter.high * DERIVED
    return parameter.low * (1.0 - ROUNDING), parameter.high * (1.0 + ROUNDING)


def _out_of_range(value: float, low: float, high: float) -> str | None:
    """Return what is wrong with a number, or None."""
    if not math.isfinite(value):
        return f"{value}, expected a finite number from {low:g} to {high:g}"
    return None if low <= value <= high else f"{value:g}, expected {low:g} to {high:g}"


def _of_parameters(record: CurveRecord, bounds: Bounds) -> Iterator[str]:
    for p in record.parameters:
        low, high = bounds[p.name]
        for what in ("value", "low", "high"):
            found = _out_of_range(getattr(p, what), low, high)
            if found is not None:
                yield f"{_place(record, p, what)} = {found}"
        if p.low > p.high:
            yield f"{_place(record, p, 'low')} = {p.low:g}, expected at most its high, {p.high:g}"


def _place(record: CurveRecord, p: ParameterRecord, what: str) -> str:
    return f"{record.name}.{p.name}" if what == "value" else f"{record.name}.{p.name}, {what} end of its interval"


def _of_draws(record: CurveRecord, bounds: Bounds) -> Iterator[str]:
    names = record.draw_names
    for name in names:
        if name not in bounds or names.count(name) > 1:
            where = f"curve '{record.name}', draw_names"
            yield f"{where}: '{name}'{nearest(name, bounds)}, expected parameters of the curve, each once"
    if record.draws and not names:
        yield f"curve '{record.name}': {len(record.draws)} draws, but no draw_names"
    for number, row in enumerate(record.draws, start=1):
        if len(row) != len(names):
            where = f"curve '{record.name}', draw {number}"
            yield f"{where}: {len(row)} numbers, expected {len(names)} ({', '.join(names)})"
            return
        for name, value in zip(names, row, strict=True):
            found = _out_of_range(value, *bounds[name])
            if found is not None:
                yield f"{record.name}.{name}, draw {number} = {found}"


def _of_draw_counts(profile: Profile) -> Iterator[str]:
    most = max((len(record.draws) for record in profile.curves), default=0)
    for record in profile.curves:
        if record.tag in (Tag.MEASURED, Tag.DERIVED) and not record.draws:
            yield f"curve '{record.name}' has no draws, so no interval; expected {most or 200}, as 'ppdsim fit' writes"
        if record.draws and len(record.draws) != most:
            yield f"curve '{record.name}' has {len(record.draws)} draws, others have {most}"


def _of_quality(record: CurveRecord) -> Iterator[str]:
    if record.cells < 0:
        yield f"{record.name}.cells = {record.cells}, expected 0 or more"
    found = _out_of_range(record.misfit, 0.0, LARGEST_MISFIT)
    if found is not None:
        yield f"{record.name}.misfit = {found}"
    if record.coverage_within_run is not None:
        found = _out_of_range(record.coverage_within_run, 0.0, 1.0)
        if found is not None:
            yield f"{record.name}.coverage_within_run = {found}"
    for what in ("in_sample", "left_out", "repeat_noise"):
        errors: ErrorRecord | None = getattr(record, what)
        if errors is None:
            continue
        for name, least in (("median", 0.0), ("p90", 0.0), ("maximum", 0.0), ("bias", -1.0)):
            value = getattr(errors, name)
            if not math.isfinite(value) or value < least:
                yield f"{record.name}.{what}.{name} = {value:g}, expected a finite number from {least:g}"


def _of_domain(record: CurveRecord) -> Iterator[str]:
    for axis, (low, high) in record.domain.items():
        if axis not in DOMAIN:
            yield f"{record.name}.domain: unknown axis '{axis}'{nearest(axis, DOMAIN)}, expected {', '.join(DOMAIN)}"
        for end in (low, high):
            found = _out_of_range(end, 0.0, LARGEST_TOKENS)
            if found is not None:
                yield f"{record.name}.domain.{axis} = {found}"
        if low > high:
            yield f"{record.name}.domain.{axis} = {low:g} to {high:g}, expected the smaller one first"
    for axis in record.untested:
        if axis not in record.domain:
            yield f"{record.name}.untested: '{axis}', expected an axis of its domain ({', '.join(record.domain)})"


def _of_drift(drift: Drift, times: int) -> Iterator[str]:
    absolute = drift.scale == "absolute"
    low, high = (0.0, SLOWEST_DRIFT_S) if absolute else (1.0 / LARGEST_FACTOR, LARGEST_FACTOR)
    for what in ("low", "high"):
        value = getattr(drift, what)
        found = _out_of_range(value, low, high)
        if found is not None:
            yield f"drift of {drift.quantity}, {what} = {found}"
        if value == 0.0:
            yield f"drift of {drift.quantity}, {what} = 0, expected above 0"
    if drift.low > drift.high:
        yield f"drift of {drift.quantity}, low = {drift.low:g}, expected at most its high, {drift.high:g}"
    if times > 1:
        yield f"{times} drifts of {drift.quantity}, expected one"
