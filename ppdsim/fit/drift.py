"""How far the machine moved during a run: variance between blocks of time apart from the noise inside them.

Every repeated cell says by how much its repeats differ from the cell's own mean. A cell that is mostly made of one
quantity (launch floor, compute, wire) says by how much that moved: its log-ratio over its elasticity, the percent that
the cell changes for one percent of the quantity. Grouped by block these are a one-way layout with random effects::

    y[block, i] = b[block] + e[block, i],   var b = max(0, mean square between - mean square within) / n0

(DerSimonian's moment estimator with n0 the usual mean size of unequal groups). The 90 % range of ``exp(b)`` replaces
the named prior of the quantity. It drifted if an F test tells the blocks apart, and if it matters at all.

Not modelled: drift slower than the run, so the prior stays for a quantity with fewer than `FEWEST_BLOCKS` blocks.
Source: Searle, Casella, McCulloch, Variance Components, section 3.6.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc

from ppdsim.compose import HALF_NORMAL_90, with_compute, with_floor, with_wire
from ppdsim.measurements import Measurements, PrefillRow
from ppdsim.profile import Drift
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Tag, Transport

FLOOR, WIRE = "floor_s", "wire_s_per_token"
FEWEST_BLOCKS = 6
"""Blocks with repeats below which a between-block variance means nothing."""
DOMINANT = 0.6
"""Elasticity of a cell's time to a quantity above which the cell speaks of it [1]."""
STEP = 1.01
"""Factor by which a quantity is moved to find the elasticity [1]."""
SIGNIFICANT = 0.01
"""Probability of blocks that differ as much without drift, below which there was drift [1]."""
LEAST_DRIFT = 1e-3
"""One sigma between blocks that is called drift [1]: less changes no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """A quantity's spread between blocks: one sigma of its logarithm, noise inside blocks, and where it was extreme.

    `drifted` says whether the blocks can be told apart; `fastest_s` and `slowest_s` are the times of the extreme blocks
    since the start of the run [s].
    """

    sigma: float
    noise: float
    blocks: int
    drifted: bool
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
    sigma = math.sqrt(max(0.0, (between - within) / typical))
    # Without any noise the ratio is none; whatever is between the blocks then is drift.
    chance = float(fdtrc(len(groups) - 1, total - len(groups), between / within)) if within > 0.0 else 0.0
    when = [float(np.mean([elapsed_s for _, elapsed_s in group])) for group in groups.values()]
    return Between(
        sigma=sigma,
        noise=math.sqrt(within),
        blocks=len(groups),
        drifted=chance < SIGNIFICANT and sigma > LEAST_DRIFT,
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
                    f"{'drifted' if found.drifted else 'steady'}: {found.sigma:.1%} between {found.blocks} blocks of "
                    f"this run, {found.noise:.1%} inside; fastest {found.fastest_s:.0f} s and slowest "
                    f"{found.slowest_s:.0f} s after the start"
                ),
            )
        )
    return tuple(out)


def _points(measured: Measurements, model: TurnModel, quantity: str) -> list[tuple[int, float, float]]:
    moved = _moved(model, quantity)
    cells: dict[tuple[Arm, Transport, int, int], list[PrefillRow]] = defaultdict(list)
    for row in measured.prefill:
        if row.block is not None and not row.outlier and (row.arm is not Arm.APPEND_D) is (quantity == WIRE):
            cells[row.arm, row.transport, row.cached_tokens, row.new_tokens].append(row)
    points: list[tuple[int, float, float]] = []
    for group in cells.values():
        if len(group) < 2:
            continue
        elasticity = math.log(_ttft_s(group[0], moved) / _ttft_s(group[0], model)) / math.log(STEP)
        if elasticity > DOMINANT:
            logs = np.log([row.ttft_s for row in group])
            # A cell's own mean takes a share of the spread with it; n / (n - 1) gives it back.
            residuals = (logs - logs.mean()) * math.sqrt(len(logs) / (len(logs) - 1)) / elasticity
            points += [
                (row.block, float(residual), row.elapsed_s)
                for row, residual in zip(group, residuals, strict=True)
                if row.block is not None
            ]
    return points


def _moved(model: TurnModel, quantity: str) -> TurnModel:
    if quantity == FLOOR:
        return with_floor(model, STEP * model.prefill.floor_s)
    return with_wire(model, STEP) if quantity == WIRE else with_compute(model, STEP)


def _ttft_s(row: PrefillRow, model: TurnModel) -> float:
    cached, new = float(row.cached_tokens), float(row.new_tokens)
    if row.arm is Arm.APPEND_D:
        return float(np.asarray(model.append_ttft_s(cached, new)))
    on_p = row.cached_tokens if row.prefill_cached_tokens is None else row.prefill_cached_tokens
    return float(np.asarray(model.handoff_ttft_s(row.arm, row.transport, cached, new, float(on_p))))
