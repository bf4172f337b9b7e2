"""A whole calibration: measure, describe the machine, fit. The command line and the tests call this."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppdsim import measurements, profile
from ppdsim.calibrate.fit import fit_profile
from ppdsim.calibrate.live.agenda import Agenda, clipped_note
from ppdsim.calibrate.live.budget import Budget, fewer_note
from ppdsim.calibrate.live.finish import write_manifest
from ppdsim.calibrate.live.idle import idle_notes
from ppdsim.calibrate.live.journal import Journal
from ppdsim.calibrate.live.monitor import Monitor
from ppdsim.calibrate.live.plan import Plan
from ppdsim.calibrate.live.record import RunRecord
from ppdsim.calibrate.live.run import Run, left_out_note
from ppdsim.calibrate.live.sampler import AbstractSampler, MachineSampler
from ppdsim.calibrate.live.service import Service
from ppdsim.calibrate.live.session import Session, reach
from ppdsim.calibrate.live.transfer import Link, measure_links
from ppdsim.errors import EnvironmentProblem
from ppdsim.measurements import Gpu, Model
from ppdsim.types import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a profile says of the machine it was measured on."""

    run_id: str
    name: str
    gpu: Gpu
    link: str
    model: Model


def measure(
    plan: Plan,
    services: Sequence[Service],
    machine: Machine,
    folder: Path,
    *,
    resume: bool,
    say: Callable[[str], None],
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
        If servers cannot be reached, or died for good; what was measured by then is kept.
    MeasurementError
        If the folder holds rows that this run cannot go on with.
    """
    journal = Journal(folder, resume=resume)
    rows_before = journal.rows
    rng = np.random.default_rng([plan.seed, rows_before])
    floor = measurements.HardwareFloor(gpu=machine.gpu, model=machine.model)
    record = RunRecord(folder)
    budget = Budget(plan.budget_s)
    run = Run(agenda=Agenda(plan, journal), record=record, rng=rng, floor=floor, budget=budget, say=say)
    there = not any(service.starts_servers for service in services)
    runner(reach(run, services))
    with Monitor(folder, sampler or MachineSampler(servers_were_there=there)) as monitor:
        begin_s = time.monotonic()
        run.left_out += measure_links(plan, journal, record, links, say=say)
        if links:
            run.seconds["transfer"] = budget.spent_s = time.monotonic() - begin_s
        try:
            runner(Session(run, services).measure())
        finally:
            if run.infos and journal.rows:
                arms = [arm for service in services for arm in service.arms]
                write_manifest(
                    folder,
                    run_id=machine.run_id,
                    machine=machine.name,
                    gpu=machine.gpu,
                    link=machine.link,
                    transports=tuple(sorted({t for arm, t in arms if arm is not Arm.APPEND_D}, key=lambda t: t.value)),
                    model=machine.model,
                    servers=record.servers,
                    kv_pools_tokens={
                        arm: run.infos[service.name].kv_pool_tokens
                        for service in services
                        if service.name in run.infos
                        for arm, _ in service.arms
                    },
                    notes=(
                        *(note for s in services for note in s.notes),
                        *idle_notes(services, record.servers),
                        *monitor.notes(),
                        *(line for service in services for line in run.agenda.clipped_lines(service)),
                        *run.left_out,
                        *run.fewer.values(),
                    ),
                    # Said anew by this call, or no longer true.
                    replaced=(
                        *(link.name for link in links),
                        *(
                            note(service.name)
                            for service in services
                            for note in (fewer_note, clipped_note, left_out_note)
                        ),
                    ),
                )
    for note in monitor.notes():
        say(note)
    say(f"{journal.rows - rows_before} rows added, {journal.rows} in all")
    return run


def fit(folder: Path, *, say: Callable[[str], None]) -> profile.Profile:
    """Fit the profile of a measured folder and write it there.

    Raises
    ------
    EnvironmentProblem
        If nothing was measured.
    MeasurementError
        If the rows do not make a profile.
    """
    if not (folder / "manifest.json").is_file():
        raise EnvironmentProblem(f"{folder}: nothing was measured, so there is nothing to fit")
    fitted = fit_profile(measurements.read(folder), progress=say)
    profile.save(fitted, folder / "profile.json")
    return fitted
