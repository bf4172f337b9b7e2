"""A whole calibration: measure, describe the machine, fit. The command line and the tests call this."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ppdsim import measurements, profile
from ppdsim.engines.client import ShowLine, decoding
from ppdsim.errors import EnvironmentProblem
from ppdsim.fit.bootstrap import DRAWS
from ppdsim.machine.sampler import AbstractSampler, MachineSampler
from ppdsim.measure.budget import Budget
from ppdsim.measure.finish import MANIFEST, Machine, write_manifest
from ppdsim.measure.idle import idle_notes
from ppdsim.measure.journal import Journal
from ppdsim.measure.lock import locked
from ppdsim.measure.monitor import Monitor
from ppdsim.measure.pending_cells import PendingCells, clipped_note, lacking_begins, lacking_notes
from ppdsim.measure.plan import Plan, loads_of
from ppdsim.measure.record import RunRecord
from ppdsim.measure.run import Run, left_out_note
from ppdsim.measure.service import Service
from ppdsim.measure.session import Session, reach
from ppdsim.measure.transfer import Link, measure_links
from ppdsim.measurements import read_manifest
from ppdsim.types import Arm


def measure(
    plan: Plan,
    services: Sequence[Service],
    machine: Machine,
    folder: Path,
    *,
    resume: bool,
    show_line: ShowLine,
    links: Sequence[Link] = (),
    runner: Callable[..., None] = asyncio.run,
    sampler: AbstractSampler | None = None,
) -> Run:
    """Measure what is not settled yet into `folder`, and leave its manifest there, whatever happens on the way.

    `links` are measured alone, after servers that run already have said what they are and before any server gets work.
    `runner` runs coroutines: on real time, or on a virtual clock. `sampler` looks at the machine meanwhile, by default
    at this one.

    Raises
    ------
    EnvironmentProblem
        If servers cannot be reached, hang, or died for good; what was measured by then is kept. If another run
        measures into the folder.
    MeasurementError
        If the folder holds rows that this run cannot go on with.
    """
    with locked(folder):
        return _measure(
            plan,
            services,
            machine,
            folder,
            resume=resume,
            show_line=show_line,
            links=links,
            runner=runner,
            sampler=sampler,
        )


def _measure(
    plan: Plan,
    services: Sequence[Service],
    machine: Machine,
    folder: Path,
    *,
    resume: bool,
    show_line: ShowLine,
    links: Sequence[Link],
    runner: Callable[..., None],
    sampler: AbstractSampler | None,
) -> Run:
    run = _begun(plan, machine, folder, resume=resume, show_line=show_line)
    journal, rows_before = run.journal, run.journal.rows
    there = not any(service.starts_servers for service in services)
    runner(reach(run, services))
    with Monitor(folder, sampler or MachineSampler(servers_were_there=there)) as monitor:

        def describe(*, ended: bool) -> None:
            _describe(run, services, links, machine, folder, monitor.notes() if ended else (), ended=ended)

        run.begin = lambda: describe(ended=False)
        begin_s = time.monotonic()
        run.left_out += measure_links(plan, journal, run.record, links, show_line=show_line)
        if links:
            run.seconds["transfer"] = run.budget.spent_s = time.monotonic() - begin_s
        try:
            runner(Session(run, services).measure())
        finally:
            if run.record.servers and journal.rows:
                describe(ended=True)
    for note in monitor.notes_of_call():
        show_line(note)
    show_line(f"{journal.rows - rows_before} rows added, {journal.rows} in all")
    return run


def _begun(plan: Plan, machine: Machine, folder: Path, *, resume: bool, show_line: ShowLine) -> Run:
    """Return the state of a call on a folder, whatever an earlier call left there."""
    journal = Journal(folder, resume=resume)
    for line in journal.repaired:
        show_line(line)
    if journal.rows == 0:
        # A call that measured nothing has nothing to go on with: its servers need not be these.
        (folder / MANIFEST).unlink(missing_ok=True)
    elif (folder / MANIFEST).is_file():
        # What cannot be read is found now, and not when an hour was measured.
        read_manifest(folder)
    record = RunRecord(folder, goes_on=journal.rows > 0)
    for other in record.plans:
        if other != plan.name:
            show_line(
                f"rows of plan '{other}' stay and are fitted too; this call measures what plan '{plan.name}' lacks"
            )
    record.take_plan(plan.name, loads_of(plan), measured=[name for name in loads_of(plan) if journal.has_load(name)])
    return Run(
        pending=PendingCells(plan, journal),
        record=record,
        rng=np.random.default_rng([plan.seed, journal.rows]),
        floor=measurements.HardwareFloor(gpu=machine.gpu, model=machine.model),
        budget=Budget(plan.budget_s),
        show_line=show_line,
    )


def _describe(
    run: Run,
    services: Sequence[Service],
    links: Sequence[Link],
    machine: Machine,
    folder: Path,
    of_machine: Sequence[str],
    *,
    ended: bool,
) -> None:
    """Write the manifest: when measuring begins, so that a run that is killed has one, and when it ends."""
    record, pending = run.record, run.pending
    known = [service for service in services if service.name in record.servers]
    lacking = [
        note
        for service in services
        for note in lacking_notes(pending, service, fewer=run.fewer.get(service.name))
        if ended
    ]
    write_manifest(
        folder,
        machine,
        record,
        transports={transport for s in services for arm, transport in s.arms if arm is not Arm.APPEND_D},
        kv_pools_tokens={
            arm: decoding(record.servers[service.name]).kv_pool_tokens for service in known for arm, _ in service.arms
        },
        notes=(
            *(note for service in services for note in service.notes),
            *idle_notes(services, record.servers),
            *of_machine,
            *(line for service in services for line in pending.clipped_lines(service)),
            *run.left_out,
            *lacking,
        ),
        # Said again by this call, or no longer true.
        replaced=(
            *(link.name for link in links),
            *(note(service.name) for service in services for note in (clipped_note, left_out_note)),
            *(begin for service in services for begin in lacking_begins(pending, service) if ended),
        ),
        ended=ended,
    )


def fit(folder: Path, *, show_line: ShowLine, draws: int = DRAWS) -> profile.Profile:
    """Fit the profile of a measured folder and write it there.

    Raises
    ------
    EnvironmentProblem
        If nothing was measured.
    MeasurementError
        If the rows do not make a profile.
    """
    # Here, because a run that only measures has no use for the optimizers, which take a second to load.
    from ppdsim.fit.run import fit_profile

    if not (folder / MANIFEST).is_file():
        raise EnvironmentProblem(f"{folder}: nothing was measured, so there is nothing to fit")
    with locked(folder):
        fitted = fit_profile(measurements.read(folder), draws=draws, progress=show_line)
        profile.save(fitted, folder / "profile.json")
    return fitted
