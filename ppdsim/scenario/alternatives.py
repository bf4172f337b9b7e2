"""From a scenario with ``alternatives`` to one scenario for each: the same data, with what that alternative sets.

All alternatives meet the same conversations and are judged by the same limits, so an alternative may set whatever the
fleet, the link, the engine and the routing are made of, and nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ppdsim.errors import ScenarioError
from ppdsim.scenario.overrides import key_path, put
from ppdsim.yaml_file import KeyPath

COMMON = ("schema", "question", "run_time", "workload", "slo", "seed", "seeds", "crossover", "alternatives")
"""Keys that all alternatives share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The data of one alternative, and what prints the place of its keys."""

    data: dict[str, Any]
    where: Callable[[KeyPath], str]


def variants(
    data: Mapping[str, Any],
    given: Iterable[tuple[str, Mapping[str, Any]]],
    where: Callable[[KeyPath], str],
) -> list[Variant]:
    """Return the data of each alternative (its name, what it sets) on top of the scenario's `data`.

    Raises
    ------
    ScenarioError
        If an alternative sets a key that all share, or one that leads nowhere.
    """
    return [_variant(data, place, name, changes, where) for place, (name, changes) in enumerate(given)]


def _variant(
    data: Mapping[str, Any], place: int, name: str, changes: Mapping[str, Any], where: Callable[[KeyPath], str]
) -> Variant:
    changed = copy.deepcopy({key: value for key, value in data.items() if key != "alternatives"})
    paths: list[tuple[KeyPath, KeyPath]] = []
    for dotted, value in changes.items():
        here: KeyPath = ("alternatives", place, "set", dotted)
        path = key_path(dotted)
        if path[0] in COMMON:
            raise ScenarioError(
                f"{where(here)}: alternative '{name}' sets {dotted}; all alternatives share {path[0]}, because they "
                "meet the same conversations and the same limits"
            )
        put(changed, path, copy.deepcopy(value), f"{where(here)}: alternative '{name}' sets {dotted}")
        paths.append((path, here))

    def place_of(key: KeyPath) -> str:
        for path, here in reversed(paths):
            if key[: len(path)] == path or path[: len(key)] == key:
                return f"{where(here)}: alternative '{name}'"
        return f"{where(key)}: alternative '{name}'"

    return Variant(data=changed, where=place_of)
