"""What arms are compared at: cells that the profile had not seen, by scope, with the refits that leave them out.

Cells of the profile's own run that were fitted are predicted by refits without their L, its held-out cells by the
profile as it is; of another run every cell is unseen, whatever it was measured for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ppdsim.accuracy import ANOTHER_RUN, HELD_OUT, LEFT_OUT
from ppdsim.fit.cells import Cells, grid
from ppdsim.fit.crossval import left_out_fits, name_of
from ppdsim.fit.run import fitter
from ppdsim.fit.split import is_own_run
from ppdsim.measurements import Measurements
from ppdsim.profile import Profile
from ppdsim.turn import TurnModel
from ppdsim.types import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """Append and hand-off cells of one scope; `without` holds a refit by the L that it has not seen."""

    scope: str
    append: Cells
    handoffs: tuple[Cells, ...]
    without: Mapping[float, TurnModel]

    def model(self, cached_tokens: float, otherwise: TurnModel) -> TurnModel:
        """Return the model that has not seen cells of an L."""
        return self.without.get(cached_tokens, otherwise)


def unseen(profile: Profile, measured: Measurements) -> tuple[Unseen, ...]:
    """Return the cells of a run that arms can be compared at, with hand-offs that the profile has."""
    fitted, held_out = grid(measured), grid(measured, "validation")
    have = {(record.arm, record.transport) for record in profile.curves}

    def part(scope: str, append: Cells, handoffs: Iterable[Cells], without: Mapping[float, TurnModel]) -> Unseen:
        known = tuple(group for group in handoffs if (group.arm, group.transport) in have)
        return Unseen(scope=scope, append=append, handoffs=known, without=without)

    if is_own_run(profile, measured):
        refits = left_out_fits(fitted, fitter(measured), only="cached_tokens")
        without = {value: model for _, value, model in refits}
        handoffs = [_refitted(group, without) for group in fitted.handoffs]
        return (
            part(LEFT_OUT, _refitted(fitted.append, without), [g for g in handoffs if len(g)], without),
            part(HELD_OUT, held_out.append, held_out.handoffs, {}),
        )
    (append,) = merged([fitted.append, held_out.append])
    return (part(ANOTHER_RUN, append, merged([*fitted.handoffs, *held_out.handoffs]), {}),)


def _refitted(group: Cells, without: Mapping[float, TurnModel]) -> Cells:
    """Return the cells for which there is a refit that has not seen them."""
    own = (group.arm, group.transport)
    seen_by_none = [L for L, model in without.items() if group.arm is Arm.APPEND_D or own in model.handoffs]
    return group.pick(np.isin(group.cached_tokens, seen_by_none))


def merged(groups: Iterable[Cells]) -> Iterator[Cells]:
    """Yield one group a kind and arm: to another run's profile all its cells are unseen, whatever they were for."""
    by_name: dict[str, list[Cells]] = {}
    for group in groups:
        by_name.setdefault(name_of(group), []).append(group)
    for first, *others in by_name.values():
        yield first.joined(others)


def shared(first: Cells, second: Cells) -> list[tuple[int, int]]:
    """Return the positions of cells of two arms at the same (L, m)."""
    places = {at: i for i, at in enumerate(zip(second.cached_tokens, second.new_tokens, strict=True))}
    found = ((i, places.get(at)) for i, at in enumerate(zip(first.cached_tokens, first.new_tokens, strict=True)))
    return [(i, j) for i, j in found if j is not None]
