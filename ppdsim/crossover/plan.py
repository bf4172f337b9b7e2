"""What a crossover run looks at: its P arms, and its cache rates, finer near the crossing of each arm."""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.analytical.crossing import cache_rate_crossing
from ppdsim.cost.base import Quantity
from ppdsim.crossover.traffic import Traffic, traffic_of
from ppdsim.crossover.waits import under_load
from ppdsim.errors import ScenarioError
from ppdsim.metrics import median
from ppdsim.profile import Profile
from ppdsim.scenario import Scenario
from ppdsim.scenario.schema import CrossoverGrid
from ppdsim.setup import Machine, Setup
from ppdsim.turn import TurnModel
from ppdsim.types import Arm

FINE_STEPS = (-2, -1, 0, 1, 2)
"""Cache rates added around an expected crossing [steps]."""
LARGEST_STEP = 0.02
"""Length of such a step [1]; a quarter of the distance from 1 where that is shorter."""
SLIDER_GAMMAS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Prices that the report's slider offers [1]."""
SLIDER_RESIDENTS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
"""Batches that the report's slider offers [streams]."""
SPARE_PAGES = 3
"""Pages that rounding prompt, answer and a unified server's last token may take [pages]."""
SMALLEST_NEW_TOKENS = 32
"""New tokens at the largest cache rate that is looked at: beyond it nothing but the launch floor is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A scenario's crossover grid, and the P and the D that it is asked of.

    `central` and `samples` are D's curves, central values and draws; their sender is P where P is of another kind.
    """

    setup: Setup
    grid: CrossoverGrid
    on_p: Machine
    on_d: Machine
    central: TurnModel
    samples: TurnModel
    comparisons: tuple[ArmComparison, ...]
    traffic: Traffic

    @property
    def scenario(self) -> Scenario:
        """Return the scenario that asks."""
        return self.setup.scenario

    def profile_of(self, arm: Arm) -> Profile:
        """Return the profile of the machine that prefills on an arm."""
        return (self.on_d if arm is Arm.APPEND_D else self.on_p).profile

    @property
    def first_stall_s(self) -> float:
        """The first of the assumed S_P [s]: the one that the headline and the simulation use."""
        return self.grid.handoff_stall_ms[0] / 1e3

    def loaded(self, comparison: ArmComparison, cached_tokens: Quantity, new_tokens: Quantity) -> ArmComparison:
        """Return the comparison with the waits of turns that arrive at the traffic's rate."""
        return under_load(self.grid, self.traffic, self.central, comparison, cached_tokens, new_tokens)

    @property
    def slider_gammas(self) -> tuple[float, ...]:
        """Return the prices of the report's slider, the scenario's own among them."""
        return tuple(sorted({*SLIDER_GAMMAS, self.grid.gamma}))

    @property
    def slider_residents(self) -> tuple[int, ...]:
        """Return the batches of the report's slider, the scenario's own among them."""
        return tuple(sorted({*SLIDER_RESIDENTS, self.grid.residents}))

    @property
    def headline_tokens(self) -> tuple[int, int]:
        """Cached and new tokens of the headline's turn: the workload's median follow-up, else the grid's."""
        found = self.traffic.follow_ups
        if found is not None:
            return round(median(found.cached_tokens)), round(median(found.new_tokens))
        return self.grid.headline_cached_tokens, self.grid.headline_new_tokens


def make_plan(setup: Setup, central: TurnModel, samples: TurnModel, *, seed: int) -> Plan:
    """Resolve a scenario's crossover block and its traffic.

    Raises
    ------
    WorkloadError
        If the workload cannot be read.
    ScenarioError
        If it has none, if no P arm is among its arms, or if a prompt does not fit the KV pool.
    """
    scenario = setup.scenario
    grid = scenario.crossover
    if grid is None:
        raise ScenarioError(f"scenario '{scenario.name}' has no 'crossover' block; 'cache-rate' has one")
    arms = [choice for choice in grid.arms if choice.arm is not Arm.APPEND_D]
    if not arms or len(arms) == len(grid.arms):
        raise ScenarioError(f"scenario '{scenario.name}': crossover.arms needs append-d and at least one P arm")
    on_p, on_d = setup.pair()
    headline_tokens = grid.headline_cached_tokens + grid.headline_new_tokens
    # A decode server admits a turn only beside what it reserves for its answer.
    answer_tokens = max(grid.output_tokens, setup.knobs["num_reserved_decode_tokens"])
    need = max(*grid.total_tokens, headline_tokens, *grid.fixed_cached_tokens) + answer_tokens
    longest = max(*grid.total_tokens, headline_tokens, *grid.fixed_cached_tokens)
    if setup.context_tokens is not None and longest > setup.context_tokens:
        raise ScenarioError(
            f"scenario '{scenario.name}': a prompt of {longest} tokens; the model takes at most {setup.context_tokens} "
            "(its context)"
        )
    page = central.page_size_tokens
    # What `Cluster.can_hold` rounds up, for the turn and for each resident's growing last page.
    taken = grid.residents * (grid.resident_context_tokens + page) + SPARE_PAGES * page
    if need + taken > on_d.kv_pool_tokens:
        raise ScenarioError(
            f"scenario '{scenario.name}': a turn of {need} tokens with its answer beside {grid.residents} residents of "
            f"{grid.resident_context_tokens} tokens needs {need + taken}, D's KV pool holds {on_d.kv_pool_tokens}"
        )
    if need > on_p.kv_pool_tokens:
        raise ScenarioError(
            f"scenario '{scenario.name}': a turn of {need} tokens does not fit P's KV pool of {on_p.kv_pool_tokens}"
        )
    comparisons = tuple(
        ArmComparison(
            arm=choice.arm,
            transport=choice.transport,
            previous_output_tokens=output,
            cold=grid.prefill_cache == "cold",
            gamma=grid.gamma,
            residents=grid.residents,
            resident_context_tokens=grid.resident_context_tokens,
        )
        for choice in arms
        for output in grid.previous_output_tokens
    )
    for comparison in comparisons:
        central.handoff(comparison.arm, comparison.transport)
    return Plan(
        setup=setup,
        grid=grid,
        on_p=on_p,
        on_d=on_d,
        central=central,
        samples=samples,
        comparisons=comparisons,
        traffic=traffic_of(scenario, grid, seed=seed),
    )


def rates_of(plan: Plan, comparison: ArmComparison, total_tokens: int) -> tuple[float, ...]:
    """Return the cache rates to look at for a P arm and prompt length: the grid's, and finer ones near its crossing."""
    largest = 1.0 - SMALLEST_NEW_TOKENS / total_tokens
    rates = {round(rate, 4) for rate in plan.grid.cache_rates}
    found = cache_rate_crossing(plan.central, plan.samples, comparison, total_tokens, load=plan.loaded)
    for value in found.values[-1:]:
        step = min(LARGEST_STEP, 0.25 * (1.0 - value))
        rates |= {round(value + count * step, 4) for count in FINE_STEPS if 0.0 < value + count * step < largest}
    return tuple(sorted({*rates, round(largest, 4)}))


def tokens_at(total_tokens: int, rate: float) -> tuple[int, int]:
    """Return (cached_tokens, new_tokens) of a prompt at a cache rate; at least one token is new."""
    cached = min(round(rate * total_tokens), total_tokens - 1)
    return cached, total_tokens - cached
