"""``ppdsim fit``: raw measurements to a profile, with draws, cross-validated errors, misfit and drift.

Drift between runs cannot be estimated from one grid of unbroken blocks: it enters as the named priors below. So do
terms that the rows do not show (`ppdsim.fit.assumed`); the records say which (`ppdsim.fit.curve_records`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ppdsim import __version__
from ppdsim.cost.base import Array
from ppdsim.cost.prefill import wave_tokens
from ppdsim.derive.machine import WEIGHT_BYTES
from ppdsim.derive.pool import with_gpu_pool
from ppdsim.engine_record import EngineRecord
from ppdsim.engines import ENGINES
from ppdsim.errors import MeasurementError
from ppdsim.fit.assumed import Assumed, sentence, unshown
from ppdsim.fit.bootstrap import DRAWS, Fit, bootstrap
from ppdsim.fit.cells import Cells, Grid, grid
from ppdsim.fit.crossval import leave_one_out, name_of, predict_cells
from ppdsim.fit.curve_records import curve_record, mechanism_record
from ppdsim.fit.curves import FREE_PREFILL, MIDDLES, fit_model, free_terms
from ppdsim.fit.drift import measured_drift
from ppdsim.fit.link_alone import link_notes
from ppdsim.fit.mechanisms import BUILT_FROM, unmeasured
from ppdsim.fit.split import fitted_cells
from ppdsim.machine.hardware import multiprocessors_of
from ppdsim.measurements import Manifest, Measurements, Model
from ppdsim.profile import CurveRecord, Drift, MatricesRecord, ModelRecord, Profile
from ppdsim.turn import TurnModel
from ppdsim.types import Tag

BOOTSTRAP_SEED = 17
"""Seed of the bootstrap: the same measurements give the same profile."""
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


def engine_of(manifest: Manifest) -> EngineRecord:
    """Return what a profile of the run records of its engine.

    Raises
    ------
    UnknownNameError
        If the rules of the engine are not known.
    MeasurementError
        If servers of the run follow different rules.
    """
    flags = (*manifest.server_flags, *(flag for own in manifest.role_flags.values() for flag in own))
    return ENGINES[manifest.engine.lower()].record(manifest.engine_version, flags)


def wave_of(manifest: Manifest) -> float:
    """Return how many query rows of attention a GPU of a run holds at once [tokens].

    Its multiprocessors are those that the manifest states, or those of its name in calibration/hardware.yaml.
    """
    stated = manifest.gpu.multiprocessors
    tile_rows = engine_of(manifest).attention_tile_rows
    known = multiprocessors_of(manifest.gpu.name) if stated is None else float(stated)
    return wave_tokens(known, manifest.model.query_heads / manifest.tensor_parallel_size, tile_rows)


def fitter(measured: Measurements) -> Fit:
    """Return what fits a model to cells of this run."""
    manifest = measured.manifest
    model = manifest.model
    wave, engine = wave_of(manifest), engine_of(manifest)

    def fit(cells: Grid, assumed: Assumed = MIDDLES) -> TurnModel:
        return fit_model(
            cells,
            assumed,
            chunk_tokens=manifest.chunked_prefill_size,
            page_size_tokens=manifest.page_size_tokens,
            kv_bytes_per_token=2 * model.layers * model.kv_heads * model.head_dim * model.dtype_bytes,
            wave_tokens=wave,
            engine=engine,
        )

    return fit


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
    validated = leave_one_out(cells, fit)
    assumed = unshown(cells, measured.manifest.chunked_prefill_size)
    progress(f"{draws} bootstrap draws")
    models = bootstrap(cells, fit, draws, np.random.default_rng(BOOTSTRAP_SEED))

    def spread(group: Cells) -> Array:
        return np.asarray(np.std(np.log([predict_cells(drawn, group) for drawn in models]), axis=0))

    prefill_domain = _domain(cells.append, "cached_tokens", "new_tokens")

    def record(
        kind: str, free: tuple[str, ...], group: Cells | None, domain: Mapping[str, tuple[float, float]]
    ) -> CurveRecord:
        name = "" if group is None else name_of(group)
        return curve_record(
            getattr(model, kind),
            [getattr(drawn, kind) for drawn in models],
            free,
            tag=Tag.MEASURED,
            assumed=assumed.get(kind, ()),
            cells=group,
            model=model,
            left_out=validated.tested.get(name),
            untested=validated.untested.get(name, ()),
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
            curve_record(
                model.handoffs[key],
                [drawn.handoffs[key] for drawn in models],
                free_terms(model, *key),
                tag=Tag.MEASURED,
                assumed=assumed.get(name_of(group), ()),
                cells=group,
                model=model,
                left_out=validated.tested.get(name_of(group)),
                untested=validated.untested.get(name_of(group), ()),
                spread=spread,
                domain=_domain(group, "cached_tokens", "new_tokens"),
                arm=group.arm,
                transport=group.transport,
            )
        )
    measured_curves = {(record.arm, record.transport): record for record in curves}
    for (arm, transport), curve in unmeasured(model.handoffs, model.kv_bytes_per_token).items():
        curves.append(mechanism_record(curve, model, arm, transport, measured_curves[BUILT_FROM]))
    notes = (
        *(sentence(name, terms) for name, terms in assumed.items()),
        *(() if len(cells.handoff_stall) else (UNKNOWN_HANDOFF_STALL,)),
        *link_notes(measured.transfer, model),
    )
    drift = measured_drift(measured, model, PRIORS)
    assembled = _assemble(measured, tuple(curves), drift, model.kv_bytes_per_token, notes)
    return assembled.model_copy(update={"fitted_cells": fitted_cells(cells)})


def _domain(cells: Cells, *columns: str) -> dict[str, tuple[float, float]]:
    return {c: (float(getattr(cells, c).min()), float(getattr(cells, c).max())) for c in columns}


def _matrices(model: Model) -> MatricesRecord | None:
    if model.hidden_size is None or model.intermediate_size is None or model.weights_dtype not in WEIGHT_BYTES:
        return None
    return MatricesRecord.model_validate(model.model_dump(include=set(MatricesRecord.model_fields)))


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
        engine=engine_of(manifest),
        model=ModelRecord(
            **manifest.model.model_dump(include=set(ModelRecord.model_fields)),
            kv_bytes_per_token=kv_bytes_per_token,
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
