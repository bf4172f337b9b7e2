"""Load a scenario by name or path, apply overrides, and say precisely what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ppdsim import library
from ppdsim.errors import ScenarioError, nearest
from ppdsim.scenario.problems import key_path_text, scenario_error, schema_of
from ppdsim.scenario.schema import Scenario
from ppdsim.scenario.workloads import TraceSpec
from ppdsim.scenario.yaml_file import KeyPath, read, scalar
from ppdsim.workload import recognise


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file, for editors and for the reference."""
    return Scenario.model_json_schema(by_alias=True)


def load(name: str | Path, overrides: Iterable[str] = ()) -> Scenario:
    """Load a scenario.

    Parameters
    ----------
    name : str or Path
        Name of an installed scenario, or the path of a file.
    overrides : iterable of str
        ``key=value``, the key a dotted path (``routing.policy=always-d``, ``fleet.0.count=2``), the value as it would
        stand in the file. Later ones win.

    Raises
    ------
    UnknownNameError
        If no such scenario is installed.
    ScenarioError
        If the file or an override is wrong: file and line (or the override), the key, what was given, what was
        expected, the nearest valid key.
    """
    path = library.find("scenario", str(name))
    data, lines = read(path)
    root = json_schema()
    changed = [(_override(data, text, root), text) for text in overrides]

    def where(key: KeyPath) -> str:
        for changed_path, text in reversed(changed):
            if key[: len(changed_path)] == changed_path:
                return f"--set {text}"
        inside = [text for changed_path, text in changed if changed_path[: len(key)] == key]
        note = "".join(f" with --set {text}" for text in inside)
        line = next((lines[key[:length]] for length in range(len(key), 0, -1) if key[:length] in lines), None)
        return f"{path}{note}" if line is None else f"{path}:{line}{note}"

    try:
        # Through JSON, strict means what one expects: a list becomes a tuple, "tcp" a Transport, but "4" is no number.
        scenario = Scenario.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as problem:
        raise scenario_error(problem, root, data, where) from None
    return scenario.located(path)


def with_trace(scenario: Scenario, path: Path) -> Scenario:
    """Return the scenario with its workload replaced by the conversations of a file, whatever its format.

    Raises
    ------
    WorkloadError
        If the file cannot be read or looks like none of the formats.
    """
    spec = TraceSpec.model_validate({"kind": recognise(path), "file": str(path.absolute())})
    return scenario.model_copy(update={"workload": spec})


def _override(data: dict[str, Any], text: str, root: dict[str, Any]) -> KeyPath:
    """Put one ``key=value`` into the data, and return the path it went to."""
    dotted, equals, value = text.partition("=")
    if not equals or not dotted:
        raise ScenarioError(f"--set {text}: expected key=value, such as transport=nvlink")
    path: KeyPath = tuple(int(part) if part.isdecimal() else part for part in dotted.split("."))
    node: Any = data
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(node, list) and isinstance(part, int):
            if part >= len(node):
                raise ScenarioError(
                    f"--set {text}: {key_path_text(path[:depth])} has {len(node)} items, counted from 0"
                )
        elif isinstance(node, dict) and isinstance(part, str):
            if not last and node.get(part) is None:
                node[part] = {}
        else:
            valid = sorted(node) if isinstance(node, dict) else []
            raise ScenarioError(
                f"--set {text}: no key '{part}' in {key_path_text(path[:depth])}{nearest(str(part), valid)}"
            )
        if last:
            wants_text = schema_of(root, path).get("type") == "string"
            node[part] = value if wants_text else scalar(value, f"--set {text}")
        else:
            node = node[part]
    return path
