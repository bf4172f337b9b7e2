"""What a what-if found: alternatives on the same conversations, side by side. The result file and the report hold this.

Seconds, shares and turns a second; an estimate is a mean over seeds with its 90 % interval (Student's t). Alternatives
are judged by attainment, the share of all turns that keep every limit: they are offered the same turns, whereas
goodput also counts how long the last conversation takes to end. A difference is one attainment less another, seed by
seed; the intervals of all pairs hold at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

SCHEMA: Literal["ppdsim/alternatives/1"] = "ppdsim/alternatives/1"


class Verdict(str, Enum):
    """What the seeds say about one alternative's attainment against another's."""

    BETTER = "better"
    WORSE = "worse"
    EQUAL = "equal"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over seeds, with its interval; the ends are None where the runs do not differ, or there is only one."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """How a time is spread over the turns of all seeds: its values [s] at the shares of `SHARES`."""

    name: str
    values_s: tuple[float, ...]


SHARES: tuple[float, ...] = (0.0, 0.01, 0.02, *(i / 20 for i in range(1, 20)), 0.98, 0.99, 0.995, 1.0)
"""Shares of the turns at which a distribution is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineUse:
    """How busy machines of a kind are, and what turns find cached there (:mod:`ppdsim.activity`), over all seeds.

    `hit_rate` is None where a run has no turn that asks them for a prefix, as of a link.
    """

    name: str
    busy: Estimate
    hit_rate: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One alternative, over all seeds.

    Attributes
    ----------
    fleet, transport, policy : str
        What it is made of, such as ``1P_3D`` over ``nvlink`` with ``always-p``.
    disaggregated : bool
        Whether it has prefill machines.
    labels : tuple of str
        STABLE, BACKLOGGED or OVERLOADED, a seed each.
    goodput_per_s : Estimate
        Turns a second that keep every limit.
    attainment : Estimate
        Share of all turns of the conversations that keep every limit, also of those that a run never came to.
    goodputs_per_s, attainments : tuple of float
        The same, a seed each (attainments of a deterministic trace: a part each).
    ttft_mean_s, ttft_p99_s, tpot_mean_s : Estimate or None
        Means over seeds of each run's mean or p99; None where a run has no answer.
    appended : Estimate
        Share of the turns that were prefilled on the decode machine.
    machines : tuple of MachineUse
        P, D (all that decode) and the link, as far as the alternative has them.
    extrapolated : float
        Share of the turns outside what the profile was measured on.
    notes : tuple of str
        What the runs say about themselves.
    """

    name: str
    fleet: str
    transport: str
    policy: str
    disaggregated: bool
    labels: tuple[str, ...]
    goodput_per_s: Estimate
    goodputs_per_s: tuple[float, ...]
    attainment: Estimate
    attainments: tuple[float, ...]
    ttft_mean_s: Estimate | None
    ttft_p99_s: Estimate | None
    tpot_mean_s: Estimate | None
    appended: Estimate
    extrapolated: float
    distributions: tuple[Distribution, ...]
    machines: tuple[MachineUse, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Attainment of `first` less that of `second` [1]."""

    first: str
    second: str
    attainment: Estimate
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All of it; `answer` is one or two sentences, `limits` the SLO in words.

    `deterministic`: the seeds change neither arrivals nor lengths, so each alternative ran once, and equal parts of the
    trace in a row take the place of seeds where attainments are compared. `shares` are those of the distributions.
    """

    scenario: str
    question: str
    answer: tuple[str, ...]
    limits: str
    seeds: tuple[int, ...]
    deterministic: bool
    alternatives: tuple[Alternative, ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]
    unread_keys: tuple[str, ...] = ()
    shares: tuple[float, ...] = SHARES
    schema: Literal["ppdsim/alternatives/1"] = SCHEMA

    def difference(self, first: str, second: str) -> Difference:
        """Return the difference of two alternatives, in this order."""
        return next(d for d in self.differences if (d.first, d.second) == (first, second))
