"""The delay that an append or a hand-off adds to the streams that decode on the same machine.

An append runs as a forward of its own between two decode steps. With overlapped scheduling the host first launches the
forward and only then delivers the tokens of the step that is still running, so when the launch outlasts that step, the
token before the gap comes late and the gap is shorter by::

    h = max(0, launch_s - T_step)
    stall_s = T_ext - h,      stall_gap_s = stall_s + T_step

In all, each stream is delayed by the forward less the part of its launch that overlaps the running step
(`PrefillCurve.forward_s`). Where this is more than `stall_s`, the tokens before the gap are late by the difference.

Not modelled: mixed chunks (decode rows in the extend batch). The delay of a hand-off (`handoff_s`) is unmeasured in the
first grid: it is 0, tagged assumed, and results are printed for 2 ms too. Forms that were tried:
docs/design/curve-forms.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppdsim.cost.base import AbstractCurve, Parameter, Quantity, maximum
from ppdsim.types import Tag


@dataclass(frozen=True, slots=True, kw_only=True)
class StallCurve(AbstractCurve):
    """Seconds that resident streams lose to one append, or to one hand-off."""

    kind: ClassVar[str] = "stall"
    PARAMETERS: ClassVar[tuple[Parameter, ...]] = (
        Parameter(name="launch_s", unit="s", low=0.0, high=0.2, meaning="host launch of a forward beside a step"),
        Parameter(name="handoff_s", unit="s", low=0.0, high=0.1, meaning="what a hand-off takes", tag=Tag.ASSUMED),
    )
    launch_s: Quantity
    handoff_s: Quantity

    def append_s(self, forward_s: Quantity, step_s: Quantity) -> Quantity:
        """Return S_D [s]: what one append whose idle forward takes `forward_s` costs each stream of a `step_s` step."""
        return maximum(forward_s - maximum(self.launch_s - step_s, 0.0), 0.0)
