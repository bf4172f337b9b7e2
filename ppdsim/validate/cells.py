"""Predicted against measured cells: errors by kind, and whether the stated 90 % intervals hold.

Cells of the profile's own run are predicted without themselves: by refits that leave out each L, m, batch and context
in turn, or because they were held out. Their interval is the one within a run. Cells of another run are predicted by
the profile as it is, with the interval for another run (drift included), and again with the launch floor of that run's
probes where it has any; decode steps have no launch floor. A left-out cell counts twice in the errors
(once for each split) and once in the binomial test.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from ppdsim import compose
from ppdsim.accuracy import ANCHORED, ANOTHER_RUN, HELD_OUT, LEFT_OUT, CellErrors, CellPoint
from ppdsim.cost.base import Array
from ppdsim.fit.cells import Cells, grid
from ppdsim.fit.crossval import leave_one_out, name_of, predict_cells
from ppdsim.fit.curve_records import inside_left_out
from ppdsim.fit.run import engine_of, fitter
from ppdsim.fit.split import is_own_run
from ppdsim.measurements import Measurements
from ppdsim.metrics import median, quantile
from ppdsim.profile import Profile
from ppdsim.types import Arm
from ppdsim.validate.candidates import candidates
from ppdsim.validate.floor import anchored
from ppdsim.validate.targets import cell_target
from ppdsim.validate.unseen import merged

LEVEL = 0.9
"""Probability that a stated interval claims."""


def cell_errors(profile: Profile, measured: Measurements) -> tuple[CellErrors, ...]:
    """Return the errors of every kind of cell that the profile had not seen."""
    if not is_own_run(profile, measured):
        every = list(merged([*grid(measured).all(), *grid(measured, "validation").all()]))
        groups = [group for group in every if len(group) and knows(profile, group)]
        found = [_predicted(profile, measured, group, ANOTHER_RUN) for group in groups]
        own_floor = anchored(profile, measured)
        if own_floor is not None:
            found += [_predicted(own_floor, measured, group, ANCHORED) for group in groups if group.kind != "decode"]
        return tuple(found)
    held_out = tuple(
        _predicted(profile, measured, group, HELD_OUT) for group in grid(measured, "validation").all() if len(group)
    )
    return (*_left_out(profile, measured), *held_out)


def knows(profile: Profile, cells: Cells) -> bool:
    """Return whether a profile has the hand-off that cells were measured with; appends every profile has."""
    have = {(record.arm, record.transport) for record in profile.curves}
    return cells.arm is Arm.APPEND_D or (cells.arm, cells.transport) in have


def _left_out(profile: Profile, measured: Measurements) -> Iterator[CellErrors]:
    samples = compose.samples(profile, another_run=False)
    for name, found in leave_one_out(grid(measured), fitter(measured)).tested.items():
        log_spread = np.std(np.log(predict_cells(samples, found.cells)), axis=0)
        misfit = compose.misfit_of(profile, found.cells.kind, found.cells.arm, found.cells.transport)
        half = np.exp(compose.HALF_NORMAL_90 * np.hypot(log_spread, misfit))
        inside = inside_left_out(found, log_spread)
        bounds = found.predicted_s / half, found.predicted_s * half
        yield _errors(measured, LEFT_OUT, name, found.cells, found.predicted_s, bounds, inside, splits=2)


def _predicted(profile: Profile, measured: Measurements, cells: Cells, scope: str) -> CellErrors:
    misfit = compose.misfit_of(profile, cells.kind, cells.arm, cells.transport)
    value = np.broadcast_to(predict_cells(compose.central(profile), cells), len(cells))
    samples = predict_cells(compose.samples(profile, another_run=scope != HELD_OUT), cells)
    band = compose.band(np.broadcast_to(samples, (len(samples), len(cells))), misfit)
    inside = (band.low <= cells.seconds) & (cells.seconds <= band.high)
    return _errors(measured, scope, name_of(cells), cells, value, (band.low, band.high), inside, splits=1)


def _errors(
    measured: Measurements,
    scope: str,
    kind: str,
    cells: Cells,
    predicted: Array,
    bounds: tuple[Array, Array],
    inside: NDArray[np.bool_],
    *,
    splits: int,
) -> CellErrors:
    error = predicted / cells.seconds - 1.0
    size = np.abs(error)
    distinct = max(1, round(len(cells) / splits))
    coverage = float(np.mean(inside))
    noise = cells.noise[np.isfinite(cells.noise)]
    target = cell_target(kind, own_floor=scope != ANOTHER_RUN)
    points = tuple(
        CellPoint(
            kind=kind,
            cached_tokens=float(cells.cached_tokens[i]),
            new_tokens=float(cells.new_tokens[i]),
            batch=float(cells.batch[i]),
            context_tokens=float(cells.context_tokens[i]),
            measured_s=float(cells.seconds[i]),
            predicted_s=float(predicted[i]),
            low_s=float(bounds[0][i]),
            high_s=float(bounds[1][i]),
            inside=bool(inside[i]),
            noise=float(cells.noise[i]),
        )
        for i in range(len(cells))
    )
    return CellErrors(
        scope=scope,
        measurements=measured.manifest.id,
        kind=kind,
        cells=distinct,
        median=median(size),
        p90=float(quantile(size, 0.9)),
        maximum=float(size.max()),
        bias=median(error),
        noise=median(noise) if len(noise) else None,
        coverage=coverage,
        coverage_p=float(binomtest(round(coverage * distinct), distinct, LEVEL).pvalue),
        worst=place(points[int(np.argmax(size))]),
        target_median=None if target is None else target[0],
        target_p90=None if target is None else target[1],
        points=points,
        candidates=candidates(
            points,
            page_tokens=measured.manifest.page_size_tokens,
            chunk_tokens=measured.manifest.chunked_prefill_size,
            engine=engine_of(measured.manifest),
        ),
    )


def place(point: CellPoint) -> str:
    """Return where a cell is, in words."""
    tokens = f"L = {point.cached_tokens:g}, m = {point.new_tokens:g}" if point.kind != "decode" else ""
    batch = f"B = {point.batch:g}, context {point.context_tokens:g}" if point.batch else ""
    return ", ".join(part for part in (tokens, batch) if part)
