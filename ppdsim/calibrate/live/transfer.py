"""Measuring the link alone: the transfer engine between two processes of this host, bytes by blocks."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from ppdsim.calibrate.drivers.transfer import TransferPair
from ppdsim.calibrate.fit_wire import FittedWire, fit_wire
from ppdsim.calibrate.live.cells import TransferCell
from ppdsim.calibrate.live.finish import versions
from ppdsim.calibrate.live.journal import POINTS, Journal, read_rows
from ppdsim.calibrate.live.plan import Plan, transfer_cells
from ppdsim.errors import EnvironmentProblem, InputError
from ppdsim.measurements import TransferRow
from ppdsim.types import Transport


def measure_transfer(
    plan: Plan,
    journal: Journal,
    transport: Transport,
    *,
    gpus: tuple[int, int] | None,
    say: Callable[[str], None],
) -> None:
    """Measure every transfer cell that is not settled, in rounds, shuffled.

    Raises
    ------
    InputError
        If the plan has no transfer cells.
    EnvironmentProblem
        If the transfer engine does not run here.
    """
    cells = transfer_cells(plan, transport)
    if not cells:
        raise InputError(f"plan '{plan.name}' has no transfer cells (transfer.size_bytes, transfer.blocks)")
    rng = np.random.default_rng([plan.seed, journal.rows])
    start_s = time.monotonic()
    todo = [cell for cell in cells if not journal.settled(_key(cell, gpus), plan.repeats)]
    if not todo:
        return
    with TransferPair(max(cell.size_bytes for cell in todo), transport=transport.value, gpus=gpus) as pair:
        for number in range(plan.repeats.most):
            todo = [cell for cell in cells if not journal.settled(_key(cell, gpus), plan.repeats)]
            if not todo:
                return
            say(f"transfer over {transport.value}: round {number + 1}, {len(todo)} cells")
            journal.last_block += 1
            _round(pair, journal, [todo[i] for i in rng.permutation(len(todo))], gpus, start_s, say)


def _round(
    pair: TransferPair,
    journal: Journal,
    cells: Sequence[TransferCell],
    gpus: tuple[int, int] | None,
    start_s: float,
    say: Callable[[str], None],
) -> None:
    for cell in cells:
        key = _key(cell, gpus)
        try:
            (seconds,) = pair.seconds(cell.size_bytes, cell.blocks, repeats=1)
        except EnvironmentProblem as problem:
            journal.skip(key, str(problem))
            say(f"skipped {key}: {problem}")
            # A transfer that failed may have left the engine's session dead: nothing after it would count.
            raise
        journal.add(
            TransferRow(
                transport=cell.transport,
                memory="host" if gpus is None else "gpu",
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


def _key(cell: TransferCell, gpus: tuple[int, int] | None) -> str:
    return f"{cell.key}/{'host' if gpus is None else 'gpu'}"


def calibrate_transfer(
    plan: Plan,
    folder: Path,
    transport: Transport,
    *,
    gpus: tuple[int, int] | None,
    resume: bool,
    say: Callable[[str], None],
) -> tuple[list[Path], str]:
    """Measure the link alone and fit its curve; return the files written and the curve in words.

    Raises
    ------
    EnvironmentProblem
        If the transfer engine does not run here; what was measured by then is kept.
    MeasurementError
        If the folder holds another run, or too little was measured for a curve.
    """
    journal = Journal(folder, resume=resume)
    measure_transfer(plan, journal, transport, gpus=gpus, say=say)
    memory = "host" if gpus is None else "gpu"
    rows = [row for row in read_rows(folder) if isinstance(row, TransferRow)]
    fitted = fit_wire([row for row in rows if row.transport is transport and row.memory == memory])
    values = fitted.curve.parameter_values()
    document = {
        "schema": "ppdsim/wire/1",
        "date": datetime.now(timezone.utc).date().isoformat(),
        "transport": transport.value,
        "memory": memory,
        "cells": fitted.cells,
        "parameters": {
            p.name: {
                "value": float(np.asarray(values[p.name])),
                "low": fitted.interval(p.name)[0],
                "high": fitted.interval(p.name)[1],
                "unit": p.unit,
                "meaning": p.meaning,
            }
            for p in fitted.curve.PARAMETERS
        },
        "left_out": {"median": fitted.left_out_median, "p90": fitted.left_out_p90},
        "libraries": {name: version for name, version in versions().items() if name.startswith("mooncake")},
    }
    path = folder / "wire.json"
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(document, indent=1) + "\n")
    os.replace(temporary, path)
    return [folder / POINTS, path], _words(fitted, transport, memory)


def _words(fitted: FittedWire, transport: Transport, memory: str) -> str:
    def part(name: str, scale: float, unit: str) -> str:
        low, high = fitted.interval(name)
        value = float(np.asarray(fitted.curve.parameter_values()[name]))
        return f"{value * scale:.3g} {unit} ({low * scale:.3g} to {high * scale:.3g})"

    return (
        f"{transport.value}, {memory} memory: {part('call_s', 1e6, 'us a call')} + "
        f"{part('block_s', 1e6, 'us a block')} + {part('byte_s', 1e9, 's a GB')}; left-out cells "
        f"{fitted.left_out_median:.1%} median, {fitted.left_out_p90:.1%} 90th percentile, of {fitted.cells}"
    )
