"""What a crossover run looks at: its P arms, its cache rates (finer near the crossing), and its waits.

The waits make the analytical side comparable with the simulated one (both have turns arriving at the scenario's rate):
an append waits for its turn between decode steps and behind other appends, a hand-off behind other forwards and other
transfers, and for D's next step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ppdsim.analytical.crossing import cache_rate_crossing
from ppdsim.analytical.queueing import mg1_wait_s, step_wait_s
from ppdsim.analytical.question import Question, cached_on_p
from ppdsim.errors import ScenarioError
from ppdsim.profile import Profile
from ppdsim.scenario import Scenario
from ppdsim.scenario.schema import CrossoverGrid
from ppdsim.turn import TurnModel
from ppdsim.types import Arm

FINE_STEPS = (-0.02, -0.01, 0.0, 0.01, 0.02)
"""Cache rates added around an expected crossing [1]."""
LARGEST_RATE = 0.995
"""Largest cache rate that is simulated: at least one page of a 32k prompt is new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A scenario's crossover grid, resolved against a profile."""

    scenario: Scenario
    grid: CrossoverGrid
    profile: Profile
    middle: TurnModel
    cloud: TurnModel
    questions: tuple[Question, ...]

    @property
    def first_stall_s(self) -> float:
        """The first of the assumed S_P [s]: the one that the headline and the simulation use."""
        return self.grid.handoff_stall_ms[0] / 1e3

    @property
    def step_s(self) -> float:
        """One decode step of the residents [s]."""
        residents = float(self.grid.residents)
        return float(self.middle.decode.step_s(residents, residents * self.grid.resident_context_tokens))

    def waiting(self, question: Question, cached_tokens: float, new_tokens: float) -> Question:
        """Return the question with the mean waits of turns that arrive at the grid's rate."""
        rate, model = self.grid.turn_rate_per_s, self.middle
        forward_d = float(model.prefill.seconds(new_tokens, cached_tokens, model.chunked_prefill_size))
        hidden = 0.0
        if self.grid.residents:
            hidden = forward_d - float(model.stall.append_s(forward_d, self.step_s))
        wait_d = mg1_wait_s(rate, [forward_d]) + step_wait_s(self.step_s, self.grid.residents) - hidden
        on_p = float(np.asarray(cached_on_p(question, cached_tokens, model.page_size_tokens)))
        prompt = cached_tokens + new_tokens
        forward_p = float(model.prefill.seconds(prompt - on_p, on_p, model.chunked_prefill_size))
        held = cached_tokens if question.arm is Arm.P_DELTA else 0.0
        wire = float(model.handoff(question.arm, question.transport).wire_s(prompt - held, held))
        join = 0.5 * self.step_s if self.grid.residents else 0.0
        wait_p = mg1_wait_s(rate, [forward_p]) + mg1_wait_s(rate, [wire]) + join
        return replace(question, wait_d_s=wait_d, wait_p_s=wait_p)


def make_plan(scenario: Scenario, profile: Profile, middle: TurnModel, cloud: TurnModel) -> Plan:
    """Resolve a scenario's crossover block.

    Raises
    ------
    ScenarioError
        If it has none, if no P arm is among its arms, or if a prompt does not fit the KV pool.
    """
    grid = scenario.crossover
    if grid is None:
        raise ScenarioError(f"scenario '{scenario.name}' has no 'crossover' block; 'cache-rate' has one")
    arms = [choice for choice in grid.arms if choice.arm is not Arm.APPEND_D]
    if not arms or len(arms) == len(grid.arms):
        raise ScenarioError(f"scenario '{scenario.name}': crossover.arms needs append-d and at least one P arm")
    pools = [group.kv_pool_tokens for group in scenario.fleet if group.kv_pool_tokens is not None]
    pool = min(pools, default=profile.kv_pool_tokens)
    need = max(
        max(grid.total_tokens) + grid.output_tokens,
        max(grid.fixed_cached_tokens),
        grid.headline_cached_tokens + grid.headline_new_tokens,
    )
    taken = grid.residents * grid.resident_context_tokens
    if need + taken > pool:
        raise ScenarioError(
            f"scenario '{scenario.name}': a turn of {need} tokens beside {grid.residents} residents of "
            f"{grid.resident_context_tokens} tokens needs {need + taken}, the KV pool holds {pool}"
        )
    questions = tuple(
        Question(
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
    for question in questions:
        middle.handoff(question.arm, question.transport)
    return Plan(
        scenario=scenario, grid=grid, profile=profile, middle=middle, cloud=cloud, questions=questions
    )


def rates_of(plan: Plan, total_tokens: int) -> tuple[float, ...]:
    """Return the cache rates to look at for a prompt length: the grid's, and finer ones near each crossing."""
    rates = {round(rate, 4) for rate in plan.grid.cache_rates}
    for question in plan.questions:
        found = cache_rate_crossing(plan.middle, plan.cloud, question, total_tokens)
        for value in found.values[-1:]:
            rates |= {round(value + step, 3) for step in FINE_STEPS if 0.0 < value + step <= LARGEST_RATE}
            if value > max(plan.grid.cache_rates):
                rates.add(LARGEST_RATE)
    return tuple(sorted(rates))


def tokens_at(total_tokens: int, rate: float) -> tuple[int, int]:
    """Return (cached_tokens, new_tokens) of a prompt at a cache rate; at least one token is new."""
    cached = min(round(rate * total_tokens), total_tokens - 1)
    return cached, total_tokens - cached
