"""``ppdsim predict``: seconds with a 90 % interval for points, from a profile.

For `prefill` the idle TTFT at the client, for `decode` the inter-token latency of `batch` streams of `context_tokens`
each, for `stall` the stall gap that one append opens in them. The interval is for another run (drift included) unless
it is asked for within the run. A point outside the measured domain, or on an unmeasured hand-off, is extrapolated;
`mechanisms` names what a value rests on that the grid could not see, and says
`derived` for every curve under it that `ppdsim derive` moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ppdsim import compose
from ppdsim.cost.base import Array, Quantity
from ppdsim.limits import PROMPT_CHUNKS
from ppdsim.points import Point
from ppdsim.profile import CurveRecord, Profile
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Tag, Transport

PARTS: Mapping[str, tuple[str, ...]] = {
    "prefill": ("prefill",),
    "decode": ("decode",),
    "stall": ("prefill", "decode", "stall"),
}
"""Curves that a kind is made of: a stall gap is the append's forward and a step, less the launch that is hidden."""

BLOCK_POINTS = 256
"""Points that are predicted at a time: with 200 draws and nine quantiles of the misfit, 4 MB an array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A point's seconds, their 90 % interval, and what they rest on."""

    predicted_s: float
    low_s: float
    high_s: float
    extrapolated: bool
    mechanisms: tuple[str, ...]


def check(profile: Profile, point: Point) -> None:
    """Refuse a point that the profile cannot predict.

    Raises
    ------
    ProfileError
        If the profile has no curve for its arm and transport.
    InputError
        If its prompt is computed in more chunks than the limit.
    """
    if point.arm is not Arm.APPEND_D:
        profile.curve("handoff", point.arm, point.transport)
    tokens = point.cached_tokens + point.new_tokens
    size = profile.chunked_prefill_size
    PROMPT_CHUNKS.check(_chunks(profile, point), f"{tokens:g} tokens in chunks of {size} (chunked_prefill_size)")


def predict(profile: Profile, points: Iterable[Point], *, within_run: bool = False) -> Iterator[Prediction]:
    """Yield the prediction of every point, in blocks: memory does not grow with their number.

    Raises
    ------
    ProfileError
        If the profile has no curve for a point's arm and transport.
    """
    central = compose.central(profile)
    samples = compose.samples(profile, another_run=not within_run)
    rest = iter(points)
    while block := list(islice(rest, BLOCK_POINTS)):
        yield from _block(profile, central, samples, block)


def _chunks(profile: Profile, point: Point) -> int:
    """Return in how many chunks a point's prompt is computed at most."""
    return 1 + int((point.cached_tokens + point.new_tokens) // profile.chunked_prefill_size)


def _block(profile: Profile, central: TurnModel, samples: TurnModel, points: Sequence[Point]) -> list[Prediction]:
    out: list[Prediction | None] = [None] * len(points)
    groups: dict[tuple[str, Arm, Transport, int], list[int]] = {}
    for index, point in enumerate(points):
        # A group takes as many chunks as its longest prompt: long ones stand by themselves.
        length = _chunks(profile, point).bit_length()
        groups.setdefault((point.kind, point.arm, point.transport, length), []).append(index)
    for (kind, arm, transport, _), indices in groups.items():
        group = [points[i] for i in indices]
        value = np.broadcast_to(np.asarray(_seconds(central, kind, arm, transport, group)), len(group))
        drawn = np.asarray(_seconds(samples, kind, arm, transport, group))
        interval = compose.band(np.broadcast_to(drawn, (drawn.shape[0], len(group))), _misfits(profile, group))
        for place, index in enumerate(indices):
            point = points[index]
            out[index] = Prediction(
                predicted_s=float(value[place]),
                low_s=float(min(interval.low[place], value[place])),
                high_s=float(max(interval.high[place], value[place])),
                extrapolated=extrapolated(profile, point),
                mechanisms=mechanisms(profile, point),
            )
    return [found for found in out if found is not None]


def _misfits(profile: Profile, points: Sequence[Point]) -> Array:
    """Return the misfit of points of one kind and arm, with the prior where no cross-validation has looked [1]."""
    first = points[0]
    inside = compose.misfit_of(profile, first.kind, first.arm, first.transport)
    record = profile.curve(first.kind)
    if first.arm is not Arm.APPEND_D:
        record = profile.curve("handoff", first.arm, first.transport)
    beyond = [any(_outside(record, axis, point) for axis in record.untested) for point in points]
    return np.where(beyond, np.hypot(inside, compose.UNMEASURED_SIGMA), inside)


def _outside(record: CurveRecord, axis: str, point: Point) -> bool:
    low, high = record.domain[axis]
    return not low <= getattr(point, axis) <= high


def _seconds(model: TurnModel, kind: str, arm: Arm, transport: Transport, points: Sequence[Point]) -> Quantity:
    def column(name: str) -> Array:
        return np.array([getattr(point, name) for point in points], dtype=np.float64)

    if kind == "decode":
        return model.decode.step_s(column("batch"), column("batch") * column("context_tokens"))
    cached, new = column("cached_tokens"), column("new_tokens")
    if kind == "stall":
        return model.stall_gap_s(cached, new, column("batch"), column("context_tokens"))
    on_p = np.array([p.cached_tokens if p.prefill_cached_tokens is None else p.prefill_cached_tokens for p in points])
    return model.ttft_s(arm, transport, cached, new, on_p)


def extrapolated(profile: Profile, point: Point) -> bool:
    """Return whether a point lies outside the measured domain, or on an unmeasured curve."""
    records = [profile.curve(point.kind)]
    if point.arm is not Arm.APPEND_D:
        records.append(profile.curve("handoff", point.arm, point.transport))
    if any(record.tag.unmeasured for record in (*records, *_parts(profile, point.kind))):
        return True
    return any(_outside(record, axis, point) for record in records for axis in record.domain)


def mechanisms(profile: Profile, point: Point) -> tuple[str, ...]:
    """Return what a prediction uses that the grid could not identify."""
    found = [f"{record.kind}: {record.tag.value}" for record in _parts(profile, point.kind) if record.tag.unmeasured]
    if point.kind != "decode":
        on_p = point.cached_tokens if point.prefill_cached_tokens is None else point.prefill_cached_tokens
        reused = point.cached_tokens if point.arm is Arm.APPEND_D else on_p
        computed = point.cached_tokens + point.new_tokens - reused
        if computed > profile.chunked_prefill_size:
            found.append("chunked prefill")
        elif computed not in profile.engine.prefill_graph_sizes_tokens:
            found.append("prefill graph sizes")
        if point.arm is not Arm.APPEND_D and on_p != point.cached_tokens:
            found.append("P without the whole prefix")
    if point.kind != "prefill" and point.batch not in profile.engine.decode_graph_sizes:
        found.append("decode graph sizes")
    if point.arm is not Arm.APPEND_D:
        tag = profile.curve("handoff", point.arm, point.transport).tag
        if tag.unmeasured:
            what = f"{point.arm.value} over {point.transport.value}"
            found.append(what if tag is Tag.MECHANISM else f"{what}: {tag.value}")
    return tuple(found)


def _parts(profile: Profile, kind: str) -> list[CurveRecord]:
    """Return the curves that a kind of prediction is composed of; the front end is tagged as the prefill is."""
    return [profile.curve(part) for part in PARTS[kind]]
