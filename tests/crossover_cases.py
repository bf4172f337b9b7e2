"""A small crossover question on the shipped profile, quick enough to ask in a test."""

from __future__ import annotations

from functools import cache

from ppdsim import compose, library, profile
from ppdsim.answers import CrossoverAnswer
from ppdsim.crossover import crossover
from ppdsim.crossover.plan import Plan, make_plan
from ppdsim.scenario import load
from ppdsim.scenario.keys import Command
from ppdsim.setup import resolve

SMALL = (
    "crossover.total_tokens=[8192]",
    "crossover.cache_rates=[0.2,0.5,0.9]",
    "crossover.fixed_cached_tokens=[4096]",
    "crossover.turns=20",
    "crossover.draws=3",
)
ARMS = {
    "nvlink": "{arm: p-full, transport: nvlink}",
    "tcp": "{arm: p-full, transport: tcp}",
    "delta": "{arm: p-delta, transport: tcp}",
}


def against(*links: str) -> tuple[str, ...]:
    """Return the settings that ask about these P arms only, after no previous answer: a fraction of the time."""
    arms = ", ".join(["{arm: append-d, transport: none}", *(ARMS[link] for link in links)])
    return (f"crossover.arms=[{arms}]", "crossover.previous_output_tokens=[0]")


@cache
def small_answer(*settings: str, seed: int = 0) -> CrossoverAnswer:
    """Return the answer of ``cache-rate`` made small, with further ``--set`` texts."""
    scenario = load("cache-rate", [*SMALL, *settings])
    return crossover(resolve(scenario, Command.CROSSOVER), seed=seed)


@cache
def plan(*settings: str) -> Plan:
    """Return the plan of ``cache-rate`` made small, against P over NVLink."""
    setup = resolve(load("cache-rate", [*SMALL, *against("nvlink"), *settings]), Command.CROSSOVER)
    found = setup.pair()[1].profile
    central, samples = setup.as_run(compose.central(found)), setup.as_run(compose.samples(found, another_run=True))
    return make_plan(setup, central, samples, seed=0)


def few_draws(name: str) -> profile.Profile:
    """Return an installed profile with two of its draws: a crossover of it takes a fraction of the time."""
    found = profile.load(library.find("profile", name))
    return found.model_copy(
        update={"curves": tuple(curve.model_copy(update={"draws": curve.draws[:2]}) for curve in found.curves)}
    )
