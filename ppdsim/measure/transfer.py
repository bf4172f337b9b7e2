"""Measuring the link alone: the transfer engine between two processes of this host, bytes by blocks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from ppdsim.engines.client import ShowLine
from ppdsim.engines.link_alone import LinkAlone, TransferPair
from ppdsim.errors import EnvironmentProblem, InputError
from ppdsim.fit.wire import FittedWire, fit_wire
from ppdsim.machine.signals import Interrupts
from ppdsim.measure.cells import TransferCell
from ppdsim.measure.finish import versions
from ppdsim.measure.journal import POINTS, Journal, read_rows
from ppdsim.measure.lock import locked
from ppdsim.measure.plan import Plan, transfer_cells
from ppdsim.measure.record import RunRecord
from ppdsim.measure.service import Service
from ppdsim.measure.wire_file import save_wire
from ppdsim.measurements import TransferRow
from ppdsim.types import Arm, Transport

NOTHING = 1e-6
"""Share of a value below which its lower bound is shown as 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link to measure alone: by what, over which transport, from which GPU's memory to which; None: host memory."""

    alone: LinkAlone
    transport: Transport
    gpus: tuple[int, int] | None = None

    @property
    def memory(self) -> Literal["host", "gpu"]:
        """Where the bytes lie."""
        return "host" if self.gpus is None else "gpu"

    @property
    def name(self) -> str:
        """The link in words."""
        where = "host memory" if self.gpus is None else f"GPU {self.gpus[0]} to GPU {self.gpus[1]}"
        return f"transfer alone over {self.transport.value}, {where}"


def links_of(
    alone: LinkAlone | None, plan: Plan, services: Sequence[Service], gpus: tuple[int, int] | None
) -> list[Link]:
    """Return the links of the hand-offs of these services, from P's GPU to D's; none if the plan has no such cells."""
    if alone is None:
        return []
    over = dict.fromkeys(transport for s in services for arm, transport in s.arms if arm is not Arm.APPEND_D)
    return [Link(alone=alone, transport=transport, gpus=gpus) for transport in over if transfer_cells(plan, transport)]


def link_problem(link: Link) -> str | None:
    """Return why a link cannot be measured here, as far as it can be seen without trying."""
    if link.transport is Transport.NVLINK and link.gpus is None:
        return "NVLink carries GPU memory only: it needs torch and two GPUs (--gpus 0,1)"
    if find_spec(link.alone.library) is None:
        return f"{link.alone.library} is not installed (ppdsim doctor says what to install)"
    return None


def measure_links(
    plan: Plan, journal: Journal, record: RunRecord, links: Sequence[Link], *, show_line: ShowLine
) -> list[str]:
    """Measure each link's cells and return a line for each that is left out: it never ends a calibration.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C, SIGTERM or SIGHUP, the workers being gone.
    """
    left_out = []
    interrupts = Interrupts()
    interrupts.take()
    try:
        with interrupts.raising():
            for link in links:
                problem = _problem_of(plan, journal, record, link, show_line=show_line)
                if problem is not None:
                    left_out.append(f"{link.name}: left out, {problem}")
                    show_line(left_out[-1])
    finally:
        interrupts.give_back()
    return left_out


def _problem_of(plan: Plan, journal: Journal, record: RunRecord, link: Link, *, show_line: ShowLine) -> str | None:
    """Measure a link, and return why it could not be."""
    problem = link_problem(link)
    if problem is not None:
        return problem
    try:
        measure_transfer(plan, journal, record, link, show_line=show_line)
    except EnvironmentProblem as failed:
        return str(failed)
    return None


def measure_transfer(plan: Plan, journal: Journal, record: RunRecord, link: Link, *, show_line: ShowLine) -> None:
    """Measure every transfer cell that is not settled, in rounds, shuffled; rows lie on the time axis of `record`.

    Raises
    ------
    InputError
        If the plan has no transfer cells.
    EnvironmentProblem
        If the transfer engine does not run here.
    """
    cells = transfer_cells(plan, link.transport)
    if not cells:
        raise InputError(f"plan '{plan.name}' has no transfer cells (transfer.size_bytes, transfer.blocks)")
    rng = np.random.default_rng([plan.seed, journal.rows])

    def unsettled() -> list[TransferCell]:
        return [cell for cell in cells if not journal.settled(link_key(cell, link), plan.repeats_for(cell))]

    todo = unsettled()
    if not todo:
        return
    largest = max(cell.size_bytes for cell in todo)
    with link.alone.pair(largest, link.transport.value, link.gpus, show_line) as pair:
        start_s = time.monotonic() - record.elapsed_s(time.time(), at_least_s=journal.last_elapsed_s)
        for number in range(plan.repeats_for(cells[0]).most):
            todo = unsettled()
            if not todo:
                return
            show_line(f"{link.name}: round {number + 1}, {len(todo)} cells")
            journal.last_block += 1
            _round(pair, journal, [todo[i] for i in rng.permutation(len(todo))], link, start_s, show_line)


def _round(
    pair: TransferPair,
    journal: Journal,
    cells: Sequence[TransferCell],
    link: Link,
    start_s: float,
    show_line: ShowLine,
) -> None:
    for cell in cells:
        key = link_key(cell, link)
        try:
            (seconds,) = pair.seconds(cell.size_bytes, cell.blocks, repeats=1)
        except EnvironmentProblem as problem:
            journal.skip(key, str(problem))
            show_line(f"skipped {key}: {problem}")
            # A transfer that failed may have left the engine's session dead: nothing after it would count.
            raise
        journal.add(
            TransferRow(
                transport=cell.transport,
                memory=link.memory,
                size_bytes=cell.size_bytes,
                blocks=cell.blocks,
                repeat=0,
                elapsed_s=time.monotonic() - start_s,
                transfer_s=seconds,
                purpose=cell.purpose,
                cell=key,
                block=journal.last_block,
            )
        )


def link_key(cell: TransferCell, link: Link) -> str:
    """Name of a cell in the raw file: the same bytes in other memory are another cell."""
    return f"{cell.key}/{link.memory}"


def calibrate_transfer(
    plan: Plan, folder: Path, link: Link, *, resume: bool, show_line: ShowLine
) -> tuple[list[Path], str]:
    """Measure the link alone and fit its curve; return the files written and the curve in words.

    Raises
    ------
    EnvironmentProblem
        If the transfer engine does not run here; what was measured by then is kept.
    MeasurementError
        If the folder holds another run, or too little was measured for a curve.
    """
    with locked(folder):
        journal = Journal(folder, resume=resume)
        for line in journal.repaired:
            show_line(line)
        measure_transfer(plan, journal, RunRecord(folder, goes_on=journal.rows > 0), link, show_line=show_line)
    rows = [row for row in read_rows(folder) if isinstance(row, TransferRow)]
    fitted = fit_wire([row for row in rows if row.transport is link.transport and row.memory == link.memory])
    path = save_wire(
        fitted,
        folder,
        date=datetime.now(timezone.utc).date().isoformat(),
        transport=link.transport.value,
        memory=link.memory,
        libraries=versions(link.alone.packages),
    )
    return [folder / POINTS, path], _words(fitted, link.transport, link.memory)


def _words(fitted: FittedWire, transport: Transport, memory: str) -> str:
    def part(name: str, scale: float, unit: str) -> str:
        low, high = fitted.interval(name)
        value = float(np.asarray(fitted.curve.parameter_values()[name]))
        # A bound at nothing comes out of the fit as a number beyond any meaning.
        low = 0.0 if low < NOTHING * value else low
        return f"{value * scale:.3g} {unit} ({low * scale:.3g} to {high * scale:.3g})"

    return (
        f"{transport.value}, {memory} memory: {part('call_s', 1e6, 'us a call')} + "
        f"{part('block_s', 1e6, 'us a block')} + {part('byte_s', 1e9, 's a GB')}; left-out cells "
        f"{fitted.left_out_median:.1%} median, {fitted.left_out_p90:.1%} 90th percentile, of {fitted.cells}"
    )
