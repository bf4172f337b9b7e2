"""``ppdsim validate``: leaks first, then cells, decisions, level lines and loads of every run, and the gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ppdsim.accuracy import CellErrors, CrossingCheck, Decisions, LoadErrors, RateCell, Validation
from ppdsim.errors import InputError, ProfileError
from ppdsim.fit.cells import grid
from ppdsim.fit.crossval import name_of
from ppdsim.fit.split import is_own_run, leaks
from ppdsim.machine.hardware import same_gpu
from ppdsim.measurements import Measurements
from ppdsim.profile import Profile
from ppdsim.validate.cells import cell_errors, knows
from ppdsim.validate.crossings import crossing_checks
from ppdsim.validate.decisions import decisions
from ppdsim.validate.gates import gates
from ppdsim.validate.loads import load_errors, rankings
from ppdsim.validate.n_star import n_star_checks
from ppdsim.validate.rates import rate_cells, rate_crossings
from ppdsim.validate.unseen import unseen


def validate(
    profile: Profile,
    runs: Sequence[Measurements],
    *,
    fail_over: float | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Validation:
    """Compare a profile with measured runs.

    Parameters
    ----------
    fail_over
        Largest median relative error of a kind of cells that passes [share]; None: errors are only reported.

    Raises
    ------
    InputError
        If a run was measured with another model shape, so nothing can be compared, or is given twice.
    ProfileError
        If the profile does not record its split.
    """
    if not profile.fitted_cells:
        raise ProfileError(
            f"profile '{profile.id}' does not record which cells it was fitted to, so a leak cannot be excluded; "
            "fit it again: ppdsim fit MEASUREMENTS -o PROFILE.json"
        )
    names = [run.manifest.id for run in runs]
    for run in runs:
        _check_same_model(profile, run)
        if names.count(run.manifest.id) > 1:
            raise InputError(f"{run.path}: run '{run.manifest.id}' is given twice; give every run once")
    leaked = tuple(f"{run.manifest.id}: {place}" for run in runs for place in leaks(profile, run))
    cells: list[CellErrors] = []
    chosen: list[Decisions] = []
    lines: list[CrossingCheck] = []
    rates: list[RateCell] = []
    rate_lines: list[CrossingCheck] = []
    loads: list[LoadErrors] = []
    for run in runs:
        here = _with_settings(profile, run)
        progress(f"{run.manifest.id}: cells")
        cells += cell_errors(here, run)
        progress(f"{run.manifest.id}: decisions")
        parts = unseen(here, run)
        chosen += decisions(here, run, parts)
        lines += (*n_star_checks(here, run, parts), *crossing_checks(here, run, parts))
        rates += rate_cells(here, run)
        rate_lines += rate_crossings(here, run)
        if run.played:
            progress(f"{run.manifest.id}: loads")
            loads += load_errors(here, run)
    return Validation(
        profile=profile.id,
        derivation=profile.derivation,
        measurements=tuple(names),
        cells=tuple(cells),
        decisions=tuple(chosen),
        crossings=tuple(lines),
        rates=tuple(rates),
        rate_crossings=tuple(rate_lines),
        loads=tuple(loads),
        rankings=rankings(loads),
        leaked=leaked,
        gates=gates(cells, chosen, loads, leaked, fail_over),
        notes=_notes(profile, runs, loads),
    )


def _with_settings(profile: Profile, run: Measurements) -> Profile:
    """Return the profile at the chunk and page size that a run was measured with: they decide its forwards."""
    manifest = run.manifest
    settings = {"chunked_prefill_size": manifest.chunked_prefill_size, "page_size_tokens": manifest.page_size_tokens}
    return profile.model_copy(update=settings)


def _check_same_model(profile: Profile, run: Measurements) -> None:
    shape = run.manifest.model
    ours = (profile.model.layers, profile.model.kv_heads, profile.model.query_heads, profile.model.head_dim)
    theirs = (shape.layers, shape.kv_heads, shape.query_heads, shape.head_dim)
    if ours != theirs:
        raise InputError(
            f"{run.path}: measured with {shape.name} (layers, KV heads, query heads, head size = {theirs}), "
            f"profile '{profile.id}' is of {profile.model.name} {ours}; expected the same shape"
        )


def _notes(profile: Profile, runs: Sequence[Measurements], loads: Sequence[LoadErrors]) -> tuple[str, ...]:
    out = [] if profile.derivation is None else [f"the profile is {profile.derivation}"]
    if not any(is_own_run(profile, run) for run in runs):
        out.append("no run is the profile's own: nothing was left out or held out, every cell is of another run")
    for run in runs:
        there = run.manifest.gpu.name
        if not same_gpu(profile.gpu, there):
            out.append(
                f"{run.manifest.id} ran on {there}, the profile is of {profile.gpu}: its errors are those of a profile "
                f"used on another GPU ('ppdsim derive {profile.id} --gpu ...' moves one)"
            )
        unknown = [name_of(group) for group in grid(run).handoffs if not knows(profile, group)]
        if unknown:
            out.append(f"{run.manifest.id}: {', '.join(unknown)} not compared: the profile has no such hand-off")
    arms = {load.arm for load in loads}
    if len(arms) == 1:
        out.append(f"loads were played on one arm ({', '.join(arms)}): there is no order of arms to compare")
    if not loads:
        out.append("no run has a load: TTFT, TPOT, ITL and E2E under traffic were not compared")
    return tuple(out)
