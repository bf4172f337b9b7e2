"""A profile's card: how it was measured, how well cells it has not seen are predicted, every number, in words.

The text follows iminuit's habit of saying what a table only implies: whether a parameter sits at a bound, whether a
number was measured, and what the errors mean beside the spread of repeats.
"""

from __future__ import annotations

from collections.abc import Iterator

from ppdsim.answers import CurveCard, ParameterCard, ProfileCard
from ppdsim.compose import UNMEASURED_SIGMA
from ppdsim.metrics import is_known
from ppdsim.profile import CurveRecord, ErrorRecord, Profile
from ppdsim.types import Tag
from ppdsim.units import format_quantity

NAMES = {"prefill": "append-d"}
"""Curves whose cells have another name: the append curve is seen through the append-d arm."""
NOT_TESTED = "not tested"
"""What stands for an error that cross-validation cannot give."""


def card_of(profile: Profile) -> ProfileCard:
    """Return the card of a profile."""
    cards = tuple(_curve(record) for record in profile.curves if record.in_sample is not None)
    parameters = tuple(
        ParameterCard(curve=record.name, **p.model_dump(mode="json"))
        for record in profile.curves
        for p in record.parameters
    )
    drifts = tuple(
        f"between runs, {d.quantity} moves over "
        + (f"{d.low * 1e3:.1f} to {d.high * 1e3:.1f} ms" if d.scale == "absolute" else f"x{d.low:.2f} to x{d.high:.2f}")
        + f" (90 %, {d.tag.value}: {d.source})"
        for d in profile.drift
    )
    guesses = tuple(
        f"{record.name}: {record.tag.value}; the intervals of its times are a {Tag.PRIOR.value}"
        for record in profile.curves
        if record.tag is Tag.MECHANISM
    )
    return ProfileCard(
        id=profile.id,
        machine=profile.machine,
        model=f"{profile.model.name}, {profile.model.dtype}, weights {profile.provenance.get('weights', 'unknown')}",
        engine=profile.engine.title,
        link=profile.link,
        date=profile.date,
        cards=cards,
        parameters=parameters,
        notes=(*profile.notes, *_untested(profile), *drifts, *guesses),
        left_out_rows=profile.left_out_rows,
    )


def _untested(profile: Profile) -> Iterator[str]:
    """Yield what cross-validation could not look at, and what the intervals take instead."""
    for record in profile.curves:
        name, prior = (
            NAMES.get(record.name, record.name),
            f"a named prior of {100 * UNMEASURED_SIGMA:.0f} % (one sigma)",
        )
        if record.cells and record.left_out is None:
            yield f"{name}: {NOT_TESTED}, {record.cells} cells are too few to leave any out; its misfit is {prior}"
        else:
            for axis in record.untested:
                low, high = record.domain[axis]
                yield f"{name}: {NOT_TESTED} at other {axis} than {low:g} to {high:g}; its misfit there has {prior}"


def _curve(record: CurveRecord) -> CurveCard:
    def share(error: ErrorRecord | None, name: str) -> float:
        return float("nan") if error is None else float(getattr(error, name))

    return CurveCard(
        kind=NAMES.get(record.name, record.name),
        cells=record.cells,
        in_sample_median=share(record.in_sample, "median"),
        in_sample_p90=share(record.in_sample, "p90"),
        left_out_median=share(record.left_out, "median"),
        left_out_p90=share(record.left_out, "p90"),
        repeat_noise_median=share(record.repeat_noise, "median"),
        coverage_within_run=record.coverage_within_run,
    )


def _percent(share: float) -> str:
    return "-" if share != share else f"{100 * share:.1f}"


def _high(share: float, cells: int) -> str:
    """Return a 90th percentile, in brackets where too few cells show it."""
    return _percent(share) if is_known(0.9, cells) else f"({_percent(share)})"


def to_text(card: ProfileCard) -> str:
    """Return the card as text, at most 120 columns wide."""
    lines = [
        card.id,
        f"  machine  {card.machine}",
        f"  link     {card.link}",
        f"  model    {card.model}",
        f"  engine   {card.engine}",
        f"  date     {card.date}",
        "",
        "  How well it predicts cells it has not seen (absolute relative error in %, leave-one-out)",
        f"  {'kind':<16}{'cells':>6}{'left out: median':>18}{'p90':>7}{'in sample: median':>19}{'p90':>7}"
        f"{'repeat noise':>14}{'in 90 % interval':>18}",
    ]
    if not card.cards:
        lines.append("  none: this machine is unmeasured")
    for c in card.cards:
        inside = "-" if c.coverage_within_run is None else f"{100 * c.coverage_within_run:.0f} %"
        tested = c.left_out_median == c.left_out_median
        left_out = _percent(c.left_out_median) if tested else NOT_TESTED
        lines.append(
            f"  {c.kind:<16}{c.cells:>6}{left_out:>18}{_high(c.left_out_p90, c.cells) if tested else '':>7}"
            f"{_percent(c.in_sample_median):>19}{_high(c.in_sample_p90, c.cells):>7}"
            f"{_percent(c.repeat_noise_median):>14}{inside:>18}"
        )
    if not all(is_known(0.9, c.cells) for c in card.cards):
        lines.append("  p90 in brackets: fewer than 10 cells, so it is hardly more than the largest")
    lines += ["", "  Parameters: value (90 % interval over the draws), where it comes from, what it is"]
    curve = ""
    for p in card.parameters:
        if p.curve != curve:
            curve = p.curve
            lines.append(f"  {curve}")
        value = format_quantity(p.value, p.unit) + " "
        interval = f"({format_quantity(p.low, p.unit)} to {format_quantity(p.high, p.unit)}) " if p.high > p.low else ""
        warning = "  AT ITS BOUND" if p.at_bound else ""
        lines.append(f"    {p.name:<24}{value:<16}{interval:<38}{p.tag}; {p.meaning}{warning}")
    bound = [f"{p.curve}.{p.name}" for p in card.parameters if p.at_bound]
    lines += [
        "",
        f"  {'parameters at a bound: ' + ', '.join(bound) if bound else 'no fitted parameter sits at a bound'}",
        f"  rows left out as impossible: {len(card.left_out_rows)}",
        *(f"    {row}" for row in card.left_out_rows),
        "  notes",
        *(f"    {note}" for note in card.notes),
    ]
    return "\n".join(lines)
