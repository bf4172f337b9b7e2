"""J at cache rates r = L / (L + m) of fixed prompts, as measured beside N decoding streams, and as the profile has it.

A cell of this experiment is one held-out row: a turn of `cached_tokens` + `new_tokens` that is sent by one arm, alone
(N = 0) or while N streams decode on D. From that row alone::

    J = TTFT + N (stall_gap_s - itl_base_s)          (gamma = 1)

TTFT is the turn's own, beside the streams; the stall is how much longer than an undisturbed step the largest gap of the
streams was. The prediction is J of the decision (model.md, "The decision"): idle TTFT, the wait for D's scheduler where
streams decode (`TurnModel.step_wait_s`), and N stalls. r* is where the measured J of the append and of a hand-off
cross, linear in r between the cells, with the 90 % range over their repeats' noise.
Not modelled: what streams lose outside the largest gap.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ppdsim import compose
from ppdsim.accuracy import ANOTHER_RUN, HELD_OUT, CrossingCheck, RateCell
from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.analytical.crossing import cache_rate_crossing, sampled_crossing
from ppdsim.cost.base import Array
from ppdsim.fit.cells import cell_value, relative_spread
from ppdsim.fit.split import is_own_run
from ppdsim.measurements import InterferenceRow, Measurements, PrefillRow
from ppdsim.metrics import interval_90, median
from ppdsim.profile import Profile
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport, arm_name
from ppdsim.validate.stalls import resampled

FEWEST_RATES = 3
"""Cache rates that a prompt must have been measured at for one arm to be part of this experiment."""
SEED = 20261127


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """One turn as measured: where, J and its parts [s], and the half-range of its repeats over J [share]."""

    total_tokens: int
    residents: int
    cached_tokens: int
    arm: Arm
    transport: Transport
    prefill_cached_tokens: int
    context_tokens: float
    ttft_s: float
    stall_s: float
    noise: float

    @property
    def j_s(self) -> float:
        return self.ttft_s + self.residents * self.stall_s


def rate_cells(profile: Profile, measured: Measurements) -> tuple[RateCell, ...]:
    """Return J of every cell of the experiment, measured and predicted with its 90 % interval."""
    own = is_own_run(profile, measured)
    central, samples = compose.central(profile), compose.samples(profile, another_run=not own)
    out = []
    for cell in _experiment(measured):
        if not _known(central, cell):
            continue
        low, high = interval_90(_predicted_s(samples, cell))
        out.append(
            RateCell(
                scope=HELD_OUT if own else ANOTHER_RUN,
                measurements=measured.manifest.id,
                total_tokens=cell.total_tokens,
                residents=cell.residents,
                cache_rate=cell.cached_tokens / cell.total_tokens,
                arm=arm_name(cell.arm, cell.transport),
                ttft_s=cell.ttft_s,
                stall_s=cell.stall_s,
                measured_s=cell.j_s,
                predicted_s=float(_predicted_s(central, cell)[0]),
                low_s=float(low),
                high_s=float(high),
            )
        )
    return tuple(out)


def rate_crossings(profile: Profile, measured: Measurements) -> tuple[CrossingCheck, ...]:
    """Return r* of every prompt, batch and hand-off of the experiment where measured or predicted J cross."""
    own = is_own_run(profile, measured)
    central, samples = compose.central(profile), compose.samples(profile, another_run=not own)
    by_arm: dict[tuple[int, int, Arm, Transport], list[_Cell]] = defaultdict(list)
    for cell in _experiment(measured):
        if _known(central, cell):
            by_arm[cell.total_tokens, cell.residents, cell.arm, cell.transport].append(cell)
    rng = np.random.default_rng(SEED)
    out = []
    for (total, residents, arm, transport), handoffs in by_arm.items():
        appends = by_arm.get((total, residents, Arm.APPEND_D, Transport.NONE), [])
        both = _at_same_places(handoffs, appends)
        if arm is Arm.APPEND_D or len(both) < FEWEST_RATES:
            continue
        rates = np.array([append.cached_tokens / total for _, append in both])
        gains = np.stack([resampled(p.j_s, p.noise, rng) - resampled(d.j_s, d.noise, rng) for p, d in both], axis=1)
        truth = sampled_crossing(rates, gains[0], gains[1:])
        comparison = ArmComparison(
            arm=arm,
            transport=transport,
            residents=residents,
            resident_context_tokens=round(float(np.mean([append.context_tokens for _, append in both]))),
        )
        guess = cache_rate_crossing(central, samples, _with_waits(central, comparison), total)
        # A predicted crossing beyond the measured rates has nothing to be compared with.
        found = bool(guess.values) and rates.min() <= guess.values[-1] <= rates.max()
        if not truth.values and not found:
            continue
        out.append(
            CrossingCheck(
                scope=HELD_OUT if own else ANOTHER_RUN,
                measurements=measured.manifest.id,
                against=arm_name(arm, transport),
                axis="r",
                fixed_tokens=total,
                residents=residents,
                predicted=guess.values[-1] if found else None,
                predicted_low=guess.interval.low if found and guess.interval else None,
                predicted_high=guess.interval.high if found and guess.interval else None,
                measured=truth.values[-1] if truth.values else None,
                measured_low=truth.interval.low if truth.interval else None,
                measured_high=truth.interval.high if truth.interval else None,
            )
        )
    return tuple(out)


def _experiment(measured: Measurements) -> list[_Cell]:
    """Return the held-out cells at prompts that some arm was measured at `FEWEST_RATES` cache rates of or more."""
    cells = [*_cells_alone(measured.prefill), *_beside_streams(measured.interference)]
    rates: dict[tuple[int, int, Arm, Transport], set[int]] = defaultdict(set)
    for cell in cells:
        rates[cell.total_tokens, cell.residents, cell.arm, cell.transport].add(cell.cached_tokens)
    kept = [c for c in cells if len(rates[c.total_tokens, c.residents, c.arm, c.transport]) >= FEWEST_RATES]
    return sorted(kept, key=_order)


def _order(cell: _Cell) -> tuple[object, ...]:
    """Return what sorts cells by experiment, cache rate and arm, the append first."""
    arm = (cell.arm is not Arm.APPEND_D, cell.arm.value, cell.transport.value)
    return (cell.total_tokens, cell.residents, cell.cached_tokens, *arm)


def _cells_alone(rows: Sequence[PrefillRow]) -> Iterator[_Cell]:
    groups: dict[tuple[int, int, int, Arm, Transport], list[float]] = defaultdict(list)
    for row in rows:
        if row.purpose == "validation" and not row.outlier:
            on_p = row.cached_tokens if row.prefill_cached_tokens is None else row.prefill_cached_tokens
            groups[row.cached_tokens, row.new_tokens, on_p, row.arm, row.transport].append(row.ttft_s)
    for (cached, new, on_p, arm, transport), seconds in groups.items():
        yield _Cell(
            total_tokens=cached + new,
            residents=0,
            cached_tokens=cached,
            arm=arm,
            transport=transport,
            prefill_cached_tokens=on_p,
            context_tokens=0.0,
            ttft_s=cell_value(seconds),
            stall_s=0.0,
            noise=relative_spread(seconds),
        )


def _beside_streams(rows: Sequence[InterferenceRow]) -> Iterator[_Cell]:
    groups: dict[tuple[int, int, int, Arm, Transport], list[InterferenceRow]] = defaultdict(list)
    for row in rows:
        if row.purpose == "validation" and not row.outlier:
            groups[row.batch, row.cached_tokens, row.new_tokens, row.arm, row.transport].append(row)
    for (batch, cached, new, arm, transport), group in groups.items():
        ttfts = [seconds for row in group for seconds in row.append_ttft_s]
        losses = [max(0.0, gap - row.itl_base_s) for row in group for gap in row.stall_gap_s]
        yield _Cell(
            total_tokens=cached + new,
            residents=batch,
            cached_tokens=cached,
            arm=arm,
            transport=transport,
            prefill_cached_tokens=cached,
            context_tokens=median([row.prompt_tokens + row.generated_tokens for row in group]),
            ttft_s=cell_value(ttfts),
            stall_s=cell_value(losses),
            noise=relative_spread(t + batch * s for t, s in zip(ttfts, losses, strict=True)),
        )


def _known(model: TurnModel, cell: _Cell) -> bool:
    return cell.arm is Arm.APPEND_D or (cell.arm, cell.transport) in model.handoffs


def _predicted_s(model: TurnModel, cell: _Cell) -> Array:
    cached, new = np.array([float(cell.cached_tokens)]), np.array([float(cell.total_tokens - cell.cached_tokens)])
    on_p = np.array([float(cell.prefill_cached_tokens)])
    ttft = np.asarray(model.ttft_s(cell.arm, cell.transport, cached, new, on_p))
    if not cell.residents:
        return ttft.ravel()
    stall = np.asarray(model.stall_s(cell.arm, cached, new, float(cell.residents), cell.context_tokens))
    wait = model.step_wait_s(cell.arm, _step_s(model, cell.residents, cell.context_tokens))
    return np.asarray(ttft + wait + cell.residents * stall).ravel()


def _step_s(model: TurnModel, residents: int, context_tokens: float) -> Array:
    """Return the step of `residents` streams [s], with an axis of one place behind that of the draws."""
    return np.asarray(model.decode.step_s(float(residents), residents * context_tokens))[..., None]


def _with_waits(model: TurnModel, comparison: ArmComparison) -> ArmComparison:
    """Return the comparison with the waits for D's scheduler where its residents decode."""
    if not comparison.residents:
        return comparison
    # The fitted model's, one number each: a search asks for numbers.
    step_s = _step_s(model, comparison.residents, float(comparison.resident_context_tokens)).item()
    return replace(
        comparison,
        wait_d_s=float(model.step_wait_s(Arm.APPEND_D, step_s)),
        wait_p_s=float(model.step_wait_s(comparison.arm, step_s)),
    )


def _at_same_places(handoffs: Sequence[_Cell], appends: Sequence[_Cell]) -> list[tuple[_Cell, _Cell]]:
    places = {append.cached_tokens: append for append in appends}
    return [(cell, places[cell.cached_tokens]) for cell in handoffs if cell.cached_tokens in places]
