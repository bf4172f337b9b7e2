"""What ``ppdsim capacity`` found, as ``capacity.json`` holds it: all that its report needs.

Rates are conversations a second, shares are of 1, times are seconds. A number that does not exist (the upper end of an
open bracket, the life of conversations of which none ended) is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["rate", "at least", "none"]
"""How a search for the largest rate ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What most of the turns that miss the SLO run into.

    Attributes
    ----------
    limit : str
        ``ttft_s``, ``tpot_s`` or ``itl_max_s``; ``unanswered`` where more turns have no answer at all; ``overloaded``
        where enough turns keep the limits, but waits grow for as long as conversations start.
    share : float
        Share of the counted turns that break it [1]; of an overload, all.
    place : str
        Where they spend the time.
    node, role : int or None, str
        The node of the fleet, counted from 0, and its role.
    seconds : float or None
        Mean time that these turns spend there [s].
    """

    limit: str
    share: float
    place: str
    node: int | None = None
    role: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityRun:
    """One run of the search.

    Attributes
    ----------
    rate_per_s, turns_per_s, goodput_per_s : float
        Conversations a second; counted turns a second; those of them that meet the SLO.
    window_s : float
        Time in which conversations start [s].
    life_s : float or None
        Median time from the first turn of a conversation to its last token; None if none has ended [s].
    attained : float
        Share of the counted turns that meets the SLO [1].
    """

    rate_per_s: float
    label: str
    turns: int
    counted: int
    window_s: float
    life_s: float | None
    turns_per_s: float
    goodput_per_s: float
    attained: float
    binding: Binding | None
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacitySeed:
    """One seed's bracket (`high_per_s` None: nothing was broken), and its runs by rising rate."""

    seed: int
    kind: Kind
    low_per_s: float
    high_per_s: float | None
    runs: tuple[CapacityRun, ...]

    def run_at(self, rate_per_s: float | None) -> CapacityRun | None:
        """Return the run at a rate."""
        return next((run for run in self.runs if run.rate_per_s == rate_per_s), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateInterval:
    """The interval over seeds, and how probably it holds the median capacity.

    Of one seed it is the bracket of its search: the rate that keeps the SLO and the next one, which does not. That says
    nothing of other seeds, and has no coverage.
    """

    low: float
    high: float | None
    over: Literal["seeds", "bracket"]
    coverage: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityResult:
    """The whole answer; `answer` is it in sentences, the first one the headline.

    Attributes
    ----------
    kind : str
        Of the median seed.
    rate_per_s : float
        Conversations a second of the median seed's low; 0 if nothing keeps the SLO.
    turns_per_s, goodput_per_s : float or None
        Of the median seed's run at that rate.
    binds : Binding or None
        What its first rate beyond runs into.
    gpus : int
        GPUs of the fleet: a server of tensor parallelism n has n.
    unread_keys : tuple of str
        Keys of the scenario file that a capacity does not read.
    """

    schema: Literal["ppdsim/capacity/1"] = "ppdsim/capacity/1"
    answer: tuple[str, ...]
    kind: Kind
    limits: dict[str, float | None]
    attained_wanted: float
    rate_per_s: float
    rate_per_gpu_per_s: float
    interval_per_s: RateInterval
    turns_per_s: float | None
    goodput_per_s: float | None
    goodput_per_gpu_per_s: float | None
    gpus: int
    binds: Binding | None
    tolerance: float
    seeds: tuple[CapacitySeed, ...]
    notes: tuple[str, ...]
    provenance: dict[str, Any]
    unread_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlternativeCapacity:
    """One alternative of a scenario, and what it carries."""

    name: str
    capacity: CapacityResult


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityComparison:
    """What each alternative carries, the most a GPU first, as ``capacities.json`` holds it."""

    schema: Literal["ppdsim/capacities/1"] = "ppdsim/capacities/1"
    scenario: str
    question: str
    answer: tuple[str, ...]
    alternatives: tuple[AlternativeCapacity, ...]
    unread_keys: tuple[str, ...] = ()
