"""Which engine a scenario asks for: its release, its flags from both places that have them, and what both change.

A flag stands at the top level of a scenario or in ``engine.flags``, not in both. A release decides what its servers can
do and by which rules.

Not modelled: what another release does faster or slower; the times are those of the profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppdsim.engines import ENGINES
from ppdsim.engines.base import AbstractEngine
from ppdsim.engines.flags import FlagValue
from ppdsim.errors import ScenarioError, nearest
from ppdsim.profile import Profile
from ppdsim.scenario import Scenario
from ppdsim.scenario.schema import ENGINE_FLAGS, EngineBlock
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, NodeRole, Tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """The engine of a fleet as a scenario runs it.

    Attributes
    ----------
    version : str or None
        The release whose rules hold; None: what the profiles were measured on, and all that can be simulated.
    flags : mapping
        The flags that are set, each once; one that the release lacks is False.
    given : mapping
        By flag, the scenario's dotted key for it.
    note : str
        What a reader must know of the release, if anything.
    """

    engine: AbstractEngine
    version: str | None
    flags: Mapping[str, FlagValue]
    given: Mapping[str, str]
    note: str = ""

    @property
    def simulated_only(self) -> list[str]:
        """Return the keys of the flags that a simulation follows and the formulas of a crossover do not."""
        flags, known = self.flags, self.engine.flags
        return [key for name, key in self.given.items() if known[name].simulated_only and flags[name] is not False]

    @property
    def knobs(self) -> dict[str, Any]:
        """Return the knobs of a simulated fleet, its scheduler among them, as `ClusterSpec` takes them."""
        return {"scheduler": self.engine.scheduler(), **self.engine.knobs(self.flags)}

    def as_run(self, model: TurnModel) -> TurnModel:
        """Return a machine's costs with the rules of the release and with the flags."""
        if self.version not in (None, model.engine.version):
            model = model.with_rules_of(self.engine.record(self.version))
        return self.engine.as_run(model, self.flags)


def requested(scenario: Scenario, profiles: Sequence[Profile]) -> Requested:
    """Return the engine that a scenario asks for on these profiles.

    Raises
    ------
    ScenarioError
        If the profiles are of several engines or of another one; if the release is not known, or cannot do what is
        asked; if a flag is unknown, has another type, or is set twice.
    """
    block = scenario.engine or EngineBlock()
    version, engine = block.version, _engine_of(scenario, block, profiles)
    if version is not None and version not in engine.releases:
        title, known = f"{engine.name}-{version}", [f"{engine.name}-{each}" for each in engine.releases]
        raise ScenarioError(
            f"{_where(scenario, 'engine')}: engine: given '{title}', expected {', '.join(known)}{nearest(title, known)}"
        )
    given = _given(scenario, block, engine)
    flags = {
        name: engine.flags[name].read(value, f"{_where(scenario, *key.split('.'))}: {key}")
        for name, (key, value) in given.items()
    }
    keys = {name: key for name, (key, _) in given.items()}
    note = ""
    if version is not None:
        _refuse_lacking(scenario, engine, version, {key: name for name, key in keys.items() if flags[name]})
        flags = {**dict.fromkeys(engine.releases[version].lacks, False), **flags}
        measured = sorted({found.engine.title for found in profiles if found.engine.version != version})
        if measured:
            note = f"{Tag.ASSUMED.value}: rules of {engine.name} {version}, times of {', '.join(measured)}"
    return Requested(engine=engine, version=version, flags=flags, given=keys, note=note)


def _engine_of(scenario: Scenario, block: EngineBlock, profiles: Sequence[Profile]) -> AbstractEngine:
    """Return the engine that the profiles were measured on, if it is the one that is asked for."""
    where, first = f"scenario '{scenario.name}'", profiles[0]
    for other in profiles:
        if other.engine.name != first.engine.name:
            raise ScenarioError(
                f"{where}: profile {first.id} is of {first.engine.title}, {other.id} of {other.engine.title}; expected"
                " one engine in a fleet, because P and D speak its protocol"
            )
    if block.name is not None and block.name != first.engine.name:
        known = "" if block.name in ENGINES else nearest(block.name, ENGINES)
        raise ScenarioError(
            f"{_where(scenario, 'engine')}: engine: given '{block.name}', expected {first.engine.name}, because profile"
            f" {first.id} was measured on {first.engine.title}{known}"
        )
    return ENGINES[first.engine.name]


def _given(scenario: Scenario, block: EngineBlock, engine: AbstractEngine) -> dict[str, tuple[str, Any]]:
    """Return by flag its dotted key and its value, from both places."""
    found = {
        name: (name, value)
        for name in ENGINE_FLAGS
        if name in scenario.model_fields_set and (value := getattr(scenario, name)) is not None
    }
    for name, value in block.flags.items():
        key = f"engine.flags.{name}"
        if name in found:
            where = _where(scenario, "engine", "flags", name)
            raise ScenarioError(f"{where}: {name} and {key} are the same flag; give one of them")
        found[name] = key, value
    for name, (key, _) in found.items():
        if name not in engine.flags:
            raise ScenarioError(
                f"{_where(scenario, *key.split('.'))}: unknown flag '{key}' of {engine.name} (valid:"
                f" {', '.join(sorted(engine.flags))}){nearest(name, engine.flags)}"
            )
    return found


def _refuse_lacking(scenario: Scenario, engine: AbstractEngine, version: str, asked: Mapping[str, str]) -> None:
    """Refuse flags, by key, and roles that a release does not have."""
    where, title = f"scenario '{scenario.name}'", f"{engine.name}-{version}"
    releases, asked = engine.releases, dict(asked)
    if scenario.crossover is not None and any(choice.arm is Arm.P_DELTA for choice in scenario.crossover.arms):
        asked["crossover.arms: p-delta"] = engine.delta_flag
    for key, flag in asked.items():
        if flag in releases[version].lacks:
            able = next(f"{engine.name}-{other}" for other in releases if flag not in releases[other].lacks)
            raise ScenarioError(f"{where}: {key}: {title} does not have it; the first that does is {able}")
    lacking = engine.scheduler().pd_note
    if lacking and any(group.role is NodeRole.PD for group in scenario.fleet):
        raise ScenarioError(
            f"{where}: fleet: role pD: given engine {title}, but {lacking}; expected D or U, or no engine"
            " version, for a fleet that no release can run"
        )


def _where(scenario: Scenario, *key: str) -> str:
    """Return what set a key for this call, else the scenario's name."""
    inside = (text for path, text in reversed(scenario.asked) if path[: len(key)] == key[: len(path)])
    return next(inside, f"scenario '{scenario.name}'")
