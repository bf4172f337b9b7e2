"""A scenario at another arrival rate, with the same random numbers.

The rate is that of conversations. A generated workload keeps the time in which its conversations start (what the
scenario says, conversations / rate), so a higher rate has more of them: conversation k is the same at every rate, and
arrives earlier. A trace has the conversations that it has: they start closer together, and the time shrinks. Think
times never change.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from ppdsim.errors import ScenarioError
from ppdsim.scenario import GeneratedSpec, Scenario, TraceSpec
from ppdsim.simulation.replicates import is_drawn
from ppdsim.workload import rate_per_s

FEWEST_CONVERSATIONS = 30
"""Least number of generated conversations in a run; at low rates the window grows [conversations]."""
MOST_CONVERSATIONS = 50_000
"""Largest number of generated conversations in a run; beyond it the window shrinks [conversations]."""


class AbstractLoad(ABC):
    """A scenario whose arrival rate can be chosen.

    `own_rate_per_s` is the rate it comes with [conversations/s]; `drawn` says whether its seed changes anything.
    """

    __slots__ = ("_scenario", "drawn", "own_rate_per_s")

    def __init__(self, scenario: Scenario, own_rate_per_s: float, *, drawn: bool) -> None:
        self._scenario, self.own_rate_per_s, self.drawn = scenario, own_rate_per_s, drawn

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what its runs do other than the scenario, or the file of a trace, says."""
        return ()

    @abstractmethod
    def scenario_at(self, rate_per_s: float) -> Scenario:
        """Return the scenario at `rate_per_s` conversations a second."""


class GeneratedLoad(AbstractLoad):
    """Generated chat: `window_s` is the time in which its conversations start [s]."""

    __slots__ = ("_spec", "window_s")

    def __init__(self, scenario: Scenario, spec: GeneratedSpec) -> None:
        super().__init__(scenario, spec.arrivals.rate_per_s, drawn=is_drawn(scenario, 0))
        self._spec = spec
        self.window_s = spec.conversations / spec.arrivals.rate_per_s

    @property
    def notes(self) -> tuple[str, ...]:
        """Return that a run never has fewer conversations than tell something."""
        if self._spec.conversations >= FEWEST_CONVERSATIONS:
            return ()
        return (f"each run has at least {FEWEST_CONVERSATIONS} conversations, the scenario {self._spec.conversations}",)

    def scenario_at(self, rate_per_s: float) -> Scenario:
        """Return the scenario with that rate, and as many conversations as start in the window."""
        count = round(min(max(rate_per_s * self.window_s, FEWEST_CONVERSATIONS), MOST_CONVERSATIONS))
        arrivals = self._spec.arrivals.model_copy(update={"rate_per_s": rate_per_s})
        spec = self._spec.model_copy(update={"arrivals": arrivals, "conversations": count})
        return self._scenario.model_copy(update={"workload": spec})


class TraceLoad(AbstractLoad):
    """A trace, played faster or slower."""

    __slots__ = ("_base_per_s", "_notes", "_spec")

    def __init__(
        self, scenario: Scenario, spec: TraceSpec, base_per_s: float, *, drawn: bool, notes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(scenario, base_per_s * spec.rate_scale, drawn=drawn)
        self._spec, self._base_per_s, self._notes = spec, base_per_s, notes

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what the reader of the trace has noted."""
        return self._notes

    def scenario_at(self, rate_per_s: float) -> Scenario:
        """Return the scenario with the trace's `rate_scale` that gives that rate."""
        spec = self._spec.model_copy(update={"rate_scale": rate_per_s / self._base_per_s})
        return self._scenario.model_copy(update={"workload": spec})


def load_of(scenario: Scenario) -> AbstractLoad:
    """Return the scenario's load as something whose rate can be chosen.

    Raises
    ------
    ScenarioError
        If the scenario has no workload.
    WorkloadError
        If its trace cannot be read, or has no rate because everything in it starts at once.
    """
    spec = scenario.workload
    if spec is None:
        raise ScenarioError(f"scenario '{scenario.name}' has no workload; add a workload block or give --trace FILE")
    if isinstance(spec, GeneratedSpec):
        return GeneratedLoad(scenario, spec)
    plain = scenario.model_copy(update={"workload": spec.model_copy(update={"rate_scale": 1.0})})
    read = plain.build_workload().conversations(np.random.default_rng(0))
    base_per_s = rate_per_s([each.arrival_s for each in read], f"{spec.file}: its conversations")
    return TraceLoad(scenario, spec, base_per_s, drawn=is_drawn(scenario, 0), notes=read.notes)
