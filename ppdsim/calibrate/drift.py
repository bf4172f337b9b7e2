"""How far the machine moved during a run: variance between blocks of time apart from the noise inside them.

Every repeated cell says by how much its repeats differ from the cell's own mean. Grouped by block and by what the cell
is made of (launch floor, compute, wire), these log-ratios are a one-way layout with random effects::

    y[block, i] = b[block] + e[block, i],   var b = max(0, mean square between - mean square within) / n0

(DerSimonian's moment estimator with n0 the usual mean size of unequal groups). The 90 % range of ``exp(b)`` replaces
the named prior of the quantity. What it does not know: drift slower than the run, so the prior stays for a quantity
with fewer than `FEWEST_BLOCKS` blocks. Source: Searle, Casella, McCulloch, Variance Components, section 3.6.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ppdsim.compose import HALF_NORMAL_90
from ppdsim.measurements import Measurements, PrefillRow
from ppdsim.profile import Drift
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Tag

FEWEST_BLOCKS = 6
"""Blocks with repeats below which a between-block variance means nothing."""
DOMINANT = 0.6
"""Share of a cell's time that a term must have for the cell to speak of it [1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """A quantity's spread between blocks: one sigma of its logarithm, noise inside blocks, and where it was extreme.

    `fastest_s` and `slowest_s` are the times of the extreme blocks since the start of the run [s].
    """

    sigma: float
    noise: float
    blocks: int
    fastest_s: float
    slowest_s: float


def between_blocks(points: Iterable[tuple[int, float, float]]) -> Between | None:
    """Return the spread between blocks of points (block, log-ratio, elapsed [s]); None for too few blocks.

    >>> found = between_blocks([(b, 0.1 * (b % 2), 0.0) for b in range(8) for _ in range(3)])
    >>> round(found.sigma, 3), round(found.noise, 3)
    (0.053, 0.0)
    """
    groups: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for block, ratio, elapsed_s in points:
        groups[block].append((ratio, elapsed_s))
    sizes = np.array([len(group) for group in groups.values()], dtype=np.float64)
    total = sizes.sum()
    if len(groups) < FEWEST_BLOCKS or total <= len(groups):
        return None
    means = np.array([np.mean([ratio for ratio, _ in group]) for group in groups.values()])
    inside = sum(float(np.var([ratio for ratio, _ in group])) * len(group) for group in groups.values())
    within = inside / (total - len(groups))
    between = float(np.sum(sizes * (means - np.sum(sizes * means) / total) ** 2)) / (len(groups) - 1)
    typical = (total - float(np.sum(sizes**2)) / total) / (len(groups) - 1)
    when = [float(np.mean([elapsed_s for _, elapsed_s in group])) for group in groups.values()]
    return Between(
        sigma=math.sqrt(max(0.0, (between - within) / typical)),
        noise=math.sqrt(within),
        blocks=len(groups),
        fastest_s=when[int(np.argmin(means))],
        slowest_s=when[int(np.argmax(means))],
    )


def measured_drift(measured: Measurements, model: TurnModel, priors: Sequence[Drift]) -> tuple[Drift, ...]:
    """Return each quantity's drift: measured between the blocks of this run where it can be, else the named prior."""
    floor_s = float(np.asarray(model.prefill.floor_s))
    out: list[Drift] = []
    for prior in priors:
        found = between_blocks(_points(measured, model, prior.quantity))
        if found is None:
            out.append(prior)
            continue
        half = math.exp(HALF_NORMAL_90 * found.sigma)
        middle = floor_s if prior.scale == "absolute" else 1.0
        out.append(
            Drift(
                quantity=prior.quantity,
                scale=prior.scale,
                low=middle / half,
                high=middle * half,
                tag=Tag.MEASURED,
                source=(
                    f"{found.blocks} blocks of this run: {found.sigma:.1%} between them, {found.noise:.1%} inside; "
                    f"fastest {found.fastest_s:.0f} s and slowest {found.slowest_s:.0f} s after the start"
                ),
            )
        )
    return tuple(out)


def _points(measured: Measurements, model: TurnModel, quantity: str) -> list[tuple[int, float, float]]:
    cells: dict[tuple[object, ...], list[PrefillRow]] = defaultdict(list)
    for row in measured.prefill:
        if row.block is not None and not row.outlier and _speaks_of(row, model) == quantity:
            cells[row.arm, row.transport, row.cached_tokens, row.new_tokens].append(row)
    points: list[tuple[int, float, float]] = []
    for group in cells.values():
        logs = np.log([row.ttft_s for row in group])
        if len(logs) > 1:
            # A cell's own mean takes a share of the spread with it; n / (n - 1) gives it back.
            residuals = (logs - logs.mean()) * math.sqrt(len(logs) / (len(logs) - 1))
            points += [
                (row.block, float(residual), row.elapsed_s)
                for row, residual in zip(group, residuals, strict=True)
                if row.block is not None
            ]
    return points


def _speaks_of(row: PrefillRow, model: TurnModel) -> str | None:
    """Return the quantity that most of the row's time is made of."""
    if row.arm is not Arm.APPEND_D:
        on_p = row.cached_tokens if row.prefill_cached_tokens is None else row.prefill_cached_tokens
        held = row.cached_tokens if row.arm is Arm.P_DELTA else 0
        wire_s = model.handoff(row.arm, row.transport).wire_s(float(row.cached_tokens + row.new_tokens - held), held)
        seconds = model.handoff_ttft_s(row.arm, row.transport, row.cached_tokens, row.new_tokens, float(on_p))
        return "wire_s_per_token" if float(np.asarray(wire_s / seconds)) > DOMINANT else None
    seconds = model.append_ttft_s(float(row.cached_tokens), float(row.new_tokens))
    share = float(np.asarray(model.prefill.floor_s / seconds))
    if share > DOMINANT:
        return "floor_s"
    return "compute" if share < 1.0 - DOMINANT else None
