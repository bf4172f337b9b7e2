"""Which engine a scenario asks for, and whether that release can do what the scenario asks of it."""

from __future__ import annotations

from ppdsim.engines import ENGINES, RELEASES
from ppdsim.engines.base import AbstractEngine
from ppdsim.errors import ScenarioError, nearest
from ppdsim.profile import Profile
from ppdsim.scenario import Scenario
from ppdsim.types import Arm, NodeRole

SWITCHES = ("disaggregation_decode_enable_radix_cache", "disagg_prefill_early_send_cached_prefix")
"""Keys of a scenario that a release has or has not."""


def check(scenario: Scenario) -> None:
    """Refuse an engine that is not known, or one that cannot do what is asked.

    Raises
    ------
    ScenarioError
        Naming the key, the release, and the first one that can.
    """
    engine = scenario.engine
    if engine is None:
        return
    where = f"scenario '{scenario.name}'"
    if engine not in RELEASES:
        raise ScenarioError(
            f"{where}: engine: given '{engine}', expected {', '.join(RELEASES)}{nearest(engine, RELEASES)}"
        )
    asked = [(key, key) for key in SWITCHES if getattr(scenario, key)]
    if scenario.crossover is not None and any(choice.arm is Arm.P_DELTA for choice in scenario.crossover.arms):
        asked.append(("crossover.arms: p-delta", SWITCHES[0]))
    for key, switch in asked:
        if not getattr(RELEASES[engine], switch):
            able = next(name for name, release in RELEASES.items() if getattr(release, switch))
            raise ScenarioError(f"{where}: {key}: {engine} does not have it; the first that does is {able}")
    if any(group.role is NodeRole.PD for group in scenario.fleet):
        raise ScenarioError(
            f"{where}: fleet: role pD: given engine {engine}, whose decode servers never prefill, as in every release"
            " up to 0.5.23; expected D or U, or no engine to ask what if"
        )


def sends_prefix_early(scenario: Scenario) -> bool:
    """Return whether P sends a prefix before the forward: as told, else as the engine does, else as measured."""
    if scenario.disagg_prefill_early_send_cached_prefix is not None:
        return scenario.disagg_prefill_early_send_cached_prefix
    return scenario.engine is None or RELEASES[scenario.engine].disagg_prefill_early_send_cached_prefix


def engine_of(profiles: tuple[Profile, ...], scenario: Scenario) -> AbstractEngine:
    """Return the engine that a fleet runs, which its profiles were measured on.

    Raises
    ------
    ScenarioError
        If the profiles are of several engines.
    """
    first = profiles[0]
    for other in profiles:
        if other.engine.name != first.engine.name:
            raise ScenarioError(
                f"scenario '{scenario.name}': profile {first.id} is of {first.engine.title}, {other.id} of"
                f" {other.engine.title}; expected one engine in a fleet, because P and D speak its protocol"
            )
    return ENGINES[first.engine.name]
