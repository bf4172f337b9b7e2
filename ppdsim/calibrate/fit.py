"""``ppdsim fit``: raw measurements to a profile, with draws, cross-validated errors, misfit and drift.

The misfit is the relative spread of left-out cells beyond what the draws explain, chosen so that 90 % of them lie
inside the within-run interval; its coverage is counted with each split's own cells kept out of that choice. Drift
between runs cannot be estimated from one grid of unbroken blocks: it enters as the named priors below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from ppdsim import __version__
from ppdsim.calibrate.bootstrap import bootstrap
from ppdsim.calibrate.cells import Cells, Grid, grid
from ppdsim.calibrate.crossval import LeftOut, leave_one_out, name_of, predict_cells
from ppdsim.calibrate.derive.hardware import multiprocessors_of
from ppdsim.calibrate.derive.machine import WEIGHT_BYTES
from ppdsim.calibrate.derive.pool import with_gpu_pool
from ppdsim.calibrate.drift import measured_drift
from ppdsim.calibrate.fit_curves import FREE_HANDOFF, FREE_HANDOFF_ELSEWHERE, FREE_PREFILL, fit_model
from ppdsim.calibrate.link_alone import link_notes
from ppdsim.calibrate.mechanisms import BUILT_FROM, prior_interval, unmeasured
from ppdsim.calibrate.split import fitted_cells
from ppdsim.compose import HALF_NORMAL_90
from ppdsim.cost.base import AbstractCurve, Array, Parameter
from ppdsim.cost.prefill import wave_tokens
from ppdsim.errors import MeasurementError
from ppdsim.measurements import Manifest, Measurements, Model
from ppdsim.metrics import interval_90, quantile
from ppdsim.profile import CurveRecord, Drift, ErrorRecord, MatricesRecord, ModelRecord, ParameterRecord, Profile
from ppdsim.transport.handoff import HandoffCurve
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Tag, Transport

DRAWS = 200
"""Bootstrap draws of a profile."""
BOOTSTRAP_SEED = 17
"""Seed of the bootstrap: the same measurements give the same profile."""
SIGNIFICANT_DIGITS = 5
"""Digits kept of a draw: below the misfit by four orders, and the file stays small."""

CHOSEN_WHEN_FIXED = ("prefix_s", "wire_s_per_token", "fresh_wire_s_per_token", "early_share")
"""Hand-off terms that are fixed where cross-validation drops them; other fixed numbers come from timestamps."""

PRIORS: tuple[Drift, ...] = (
    Drift(
        quantity="floor_s",
        scale="absolute",
        low=8e-3,
        high=17e-3,
        tag=Tag.PRIOR,
        source="host-bound launch floor seen between 8 and 17 ms within one hour on one machine",
    ),
    Drift(
        quantity="wire_s_per_token",
        scale="factor",
        low=1 / 1.12,
        high=1.12,
        tag=Tag.PRIOR,
        source="TCP cost per token moved by 12 % between blocks of time",
    ),
    Drift(
        quantity="compute",
        scale="factor",
        low=0.99,
        high=1.01,
        tag=Tag.PRIOR,
        source="compute per token stayed within 1 % between blocks of time",
    ),
)
"""How far a machine moves between runs, as stated by those who measured it: not estimable from blocks that are not
interleaved."""
UNKNOWN_HANDOFF_STALL = (
    "what a hand-off takes from decoding streams is in no row: assumed 0, results are also printed for 2 ms"
)


def wave_of(manifest: Manifest) -> float:
    """Return how many query rows of attention a GPU of a run holds at once [tokens].

    Its multiprocessors are those that the manifest states, or those of its name in calibration/hardware.yaml.
    """
    stated = manifest.gpu.multiprocessors
    known = multiprocessors_of(manifest.gpu.name) if stated is None else float(stated)
    return wave_tokens(known, manifest.model.query_heads / manifest.tensor_parallel_size)


def fitter(measured: Measurements) -> Callable[[Grid], TurnModel]:
    """Return what fits a model to cells of this run."""
    manifest = measured.manifest
    model = manifest.model
    wave = wave_of(manifest)

    def fit(cells: Grid) -> TurnModel:
        return fit_model(
            cells,
            chunk_tokens=manifest.chunked_prefill_size,
            page_size_tokens=manifest.page_size_tokens,
            kv_bytes_per_token=2 * model.layers * model.kv_heads * model.head_dim * model.dtype_bytes,
            wave_tokens=wave,
        )

    return fit


def _errors(relative: Array) -> ErrorRecord | None:
    found = np.abs(relative[np.isfinite(relative)])
    if not len(found):
        return None
    return ErrorRecord(
        median=_round(float(np.median(found))),
        p90=_round(float(quantile(found, 0.9))),
        maximum=_round(float(found.max())),
        bias=_round(float(np.nanmedian(relative))),
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
    return float(brentq(beyond, 1e-6, 10.0, xtol=1e-6))


def inside_left_out(left_out: LeftOut, log_spread: Array) -> NDArray[np.bool_]:
    """Return which left-out cells lie inside their interval, the misfit coming from the other splits."""
    log_error = -np.log1p(left_out.error)
    inside = np.zeros(len(log_error), dtype=bool)
    for split in np.unique(left_out.split):
        here = left_out.split == split
        sigma = _misfit(log_error[~here], log_spread[~here])
        inside[here] = np.abs(log_error[here]) <= HALF_NORMAL_90 * np.hypot(log_spread[here], sigma)
    return inside


def _origin(parameter: Parameter, free: tuple[str, ...]) -> Tag:
    """Return where a parameter's number comes from: an assumption that was measured after all is one no longer."""
    if parameter.name in free:
        return Tag.MEASURED
    return Tag.CHOSEN if parameter.name in CHOSEN_WHEN_FIXED else parameter.tag


def _record(
    curve: AbstractCurve,
    draws: list[AbstractCurve],
    free: tuple[str, ...],
    *,
    tag: Tag,
    cells: Cells | None,
    model: TurnModel,
    left_out: LeftOut | None,
    spread: Callable[[Cells], Array],
    domain: Mapping[str, tuple[float, float]],
    arm: Arm | None = None,
    transport: Transport | None = None,
    misfit: float = 0.0,
) -> CurveRecord:
    table = np.array([[float(d.parameter_values()[name]) for name in free] for d in draws])
    parameters = []
    for p in curve.PARAMETERS:
        value = float(curve.parameter_values()[p.name])
        column = table[:, free.index(p.name)] if p.name in free and len(table) else np.array([value])
        origin = _origin(p, free)
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
                at_bound=p.name in free and bool(np.isclose(value, p.low, atol=1e-12) or np.isclose(value, p.high)),
            )
        )
    coverage = None
    if left_out is not None:
        log_spread = spread(left_out.cells)
        misfit = _misfit(-np.log1p(left_out.error), log_spread)
        coverage = _round(float(np.mean(inside_left_out(left_out, log_spread))))
    return CurveRecord(
        kind=curve.kind,
        arm=arm,
        transport=transport,
        tag=tag,
        parameters=tuple(parameters),
        draw_names=free if len(table) else (),
        draws=tuple(tuple(_round(float(x)) for x in row) for row in table),
        domain=dict(domain),
        cells=0 if cells is None else len(cells),
        in_sample=None if cells is None else _errors(predict_cells(model, cells) / cells.seconds - 1.0),
        left_out=None if left_out is None else _errors(left_out.error),
        repeat_noise=None if cells is None else _errors(cells.noise),
        misfit=_round(misfit),
        coverage_within_run=coverage,
    )


def _domain(cells: Cells, *columns: str) -> dict[str, tuple[float, float]]:
    return {c: (float(getattr(cells, c).min()), float(getattr(cells, c).max())) for c in columns}


def fit_profile(
    measured: Measurements, *, draws: int = DRAWS, progress: Callable[[str], None] = lambda text: None
) -> Profile:
    """Fit a profile to a run's measurements.

    Raises
    ------
    MeasurementError
        If a kind that the curves need has no believable row.
    """
    for kind in ("prefill", "decode", "interference"):
        if not getattr(measured, kind):
            raise MeasurementError(
                f"{measured.path}: no believable rows of kind '{kind}' ({len(measured.refused)} refused); "
                "a profile needs prefill, decode and interference rows"
            )
    cells = grid(measured)
    for group, rows in ((cells.append, "prefill"), (cells.decode, "decode"), (cells.stall, "interference")):
        if not len(group):
            of_arm = "" if rows == "decode" else " of arm 'append-d'"
            raise MeasurementError(f"{measured.path}: no {rows} rows{of_arm} to fit, only others; a curve needs them")
    fit = fitter(measured)
    model = fit(cells)
    progress("leave-one-out")
    left_out = leave_one_out(cells, fit)
    progress(f"{draws} bootstrap draws")
    models = bootstrap(cells, fit, draws, np.random.default_rng(BOOTSTRAP_SEED))

    def spread(group: Cells) -> Array:
        return np.asarray(np.std(np.log([predict_cells(drawn, group) for drawn in models]), axis=0))

    prefill_domain = _domain(cells.append, "cached_tokens", "new_tokens")

    def record(
        kind: str, free: tuple[str, ...], group: Cells | None, domain: Mapping[str, tuple[float, float]]
    ) -> CurveRecord:
        return _record(
            getattr(model, kind),
            [getattr(drawn, kind) for drawn in models],
            free,
            tag=Tag.MEASURED,
            cells=group,
            model=model,
            left_out=None if group is None else left_out[name_of(group)],
            spread=spread,
            domain=domain,
        )

    curves = [
        record("prefill", FREE_PREFILL, cells.append, prefill_domain),
        record("frontend", ("in_s", "in_s_per_token", "out_s"), None, prefill_domain),
        record(
            "decode",
            tuple(p.name for p in model.decode.PARAMETERS),
            cells.decode,
            _domain(cells.decode, "batch", "context_tokens"),
        ),
        record(
            "stall",
            ("launch_s", "handoff_s") if len(cells.handoff_stall) else ("launch_s",),
            cells.stall,
            _domain(cells.stall, "cached_tokens", "new_tokens", "batch", "context_tokens"),
        ),
    ]
    for group in cells.handoffs:
        key = (group.arm, group.transport)
        curves.append(
            _record(
                model.handoffs[key],
                [drawn.handoffs[key] for drawn in models],
                FREE_HANDOFF.get(key, FREE_HANDOFF_ELSEWHERE),
                tag=Tag.MEASURED,
                cells=group,
                model=model,
                left_out=left_out[name_of(group)],
                spread=spread,
                domain=_domain(group, "cached_tokens", "new_tokens"),
                arm=group.arm,
                transport=group.transport,
            )
        )
    measured_curves = {(record.arm, record.transport): record for record in curves}
    for (arm, transport), curve in unmeasured(model.handoffs, model.kv_bytes_per_token).items():
        curves.append(_mechanism(curve, model, arm, transport, measured_curves[BUILT_FROM]))
    notes = (*(() if len(cells.handoff_stall) else (UNKNOWN_HANDOFF_STALL,)), *link_notes(measured.transfer, model))
    drift = measured_drift(measured, model, PRIORS)
    assembled = _assemble(measured, tuple(curves), drift, model.kv_bytes_per_token, notes)
    return assembled.model_copy(update={"fitted_cells": fitted_cells(cells)})


def _mechanism(
    curve: HandoffCurve, model: TurnModel, arm: Arm, transport: Transport, built_from: CurveRecord
) -> CurveRecord:
    record = _record(
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
    """Return a parameter nobody measured with its named prior; shares and what is absent have none."""
    if not parameter.unit.startswith("s") or parameter.value == 0.0:
        return parameter
    known = source if source.value == parameter.value else parameter
    low, high = prior_interval(parameter.value, known.low, known.high)
    return parameter.model_copy(update={"low": _round(low), "high": _round(high)})


def _matrices(model: Model) -> MatricesRecord | None:
    if model.hidden_size is None or model.intermediate_size is None or model.weights_dtype not in WEIGHT_BYTES:
        return None
    return MatricesRecord(
        hidden_size=model.hidden_size,
        intermediate_size=model.intermediate_size,
        matrix_parameters=model.matrix_parameters,
        vocabulary_parameters=model.vocabulary_parameters,
        query_key_norm=model.query_key_norm,
        tied_embeddings=model.tied_embeddings,
        weights_dtype=model.weights_dtype,
    )


def _assemble(
    measured: Measurements,
    curves: tuple[CurveRecord, ...],
    drift: tuple[Drift, ...],
    kv_bytes_per_token: int,
    notes: tuple[str, ...],
) -> Profile:
    manifest = measured.manifest
    fitted = Profile(
        id=manifest.id,
        date=manifest.date,
        machine=manifest.machine,
        gpu=manifest.gpu.name,
        link=manifest.link,
        engine=manifest.engine,
        engine_version=manifest.engine_version,
        model=ModelRecord(
            name=manifest.model.name,
            layers=manifest.model.layers,
            kv_heads=manifest.model.kv_heads,
            query_heads=manifest.model.query_heads,
            head_dim=manifest.model.head_dim,
            dtype=manifest.model.dtype,
            kv_bytes_per_token=kv_bytes_per_token,
            context_tokens=manifest.model.context_tokens,
            matrices=_matrices(manifest.model),
        ),
        tensor_parallel_size=manifest.tensor_parallel_size,
        page_size_tokens=manifest.page_size_tokens,
        chunked_prefill_size=manifest.chunked_prefill_size,
        kv_pool_tokens=manifest.kv_pool_tokens,
        provenance={
            "measurements": manifest.id,
            "points_sha256": manifest.points_sha256,
            "rows": measured.describe(),
            "fitted_by": f"ppdsim {__version__}",
            "draws": f"{len(curves[0].draws)} over cells, seed {BOOTSTRAP_SEED}",
            "client": manifest.client,
            "weights": manifest.model.weights,
        },
        curves=curves,
        drift=drift,
        left_out_rows=tuple(f"row {r.row} ({r.kind}): {r.reason}" for r in measured.refused),
        notes=(
            *manifest.notes,
            *notes,
            "captured graph sizes (staircases) and chunks above "
            f"{manifest.chunked_prefill_size} tokens are mechanisms, not measurements, on this grid",
        ),
    )
    return with_gpu_pool(fitted)
