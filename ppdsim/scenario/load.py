"""Load a scenario by name or path, apply overrides, and say precisely what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ppdsim import library
from ppdsim.errors import ScenarioError
from ppdsim.scenario import alternatives
from ppdsim.scenario.overrides import key_path, put
from ppdsim.scenario.problems import scenario_error, schema_of
from ppdsim.scenario.schema import Scenario
from ppdsim.workload import recognise
from ppdsim.yaml_file import KeyPath, read, scalar

SHORT_NAMES = {"decode_radix": "disaggregation_decode_enable_radix_cache"}
"""Keys that an override may also call as `ppdsim serve` calls its option: scripts are written with them."""
GIVEN_BY_TRACE: tuple[KeyPath, ...] = (("workload", "kind"), ("workload", "file"))
"""Keys that ``--trace`` gives, so that an override of them beside it would be lost or would lose the trace."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file, for editors and for the reference."""
    return Scenario.model_json_schema(by_alias=True)


_schema = cache(json_schema)
"""The same, made once: building it takes longer than the rest of a load. Nothing here changes it."""


def load(name: str | Path, overrides: Iterable[str] = (), *, trace: Path | None = None) -> Scenario:
    """Load a scenario, put a trace in the place of its workload, and apply overrides, in this order.

    Parameters
    ----------
    name : str or Path
        Name of an installed scenario, or the path of a file.
    overrides : iterable of str
        ``key=value``, the key a dotted path (``routing.policy=always-d``, ``fleet.0.count=2``), the value as it would
        stand in the file. Later ones win; `refuse_replaced` tells whether one is lost by that.
    trace : Path or None
        A file of conversations in any of the formats. The workload is then that file with the format's defaults;
        overrides of its other keys (``workload.rate_scale=3``) apply to it.

    Raises
    ------
    UnknownNameError
        If no such scenario is installed.
    ScenarioError
        If the file or an override is wrong: file and line (or the override), the key, what was given, what was
        expected, the nearest valid key. If an override gives what `trace` gives.
    WorkloadError
        If the trace cannot be read or looks like none of the formats.
    """
    path = library.find("scenario", str(name))
    data, lines = read(path, error=ScenarioError)
    if trace is not None:
        data["workload"] = {"kind": recognise(trace), "file": str(trace.absolute())}
        lines = {key: line for key, line in lines.items() if key[0] != "workload"}
    changed = [(_override(data, text, trace), text) for text in overrides]

    def where(key: KeyPath) -> str:
        for changed_path, text in reversed(changed):
            if key[: len(changed_path)] == changed_path:
                return f"--set {text}"
        inside = [text for changed_path, text in changed if changed_path[: len(key)] == key]
        note = "".join(f" with --set {text}" for text in inside)
        if trace is not None and key[:1] == ("workload",):
            return f"--trace {trace}{note}"
        line = next((lines[key[:length]] for length in range(len(key), 0, -1) if key[:length] in lines), None)
        return f"{path}{note}" if line is None else f"{path}:{line}{note}"

    asked = [(key, f"--set {text}") for key, text in changed]
    scenario = _validated(data, where).located(path).asking(asked)
    variants = alternatives.variants(data, [(a.name, a.set) for a in scenario.alternatives], where)
    return scenario.compared(tuple(_validated(v.data, v.where).located(path) for v in variants))


def refuse_replaced(overrides: Sequence[str]) -> None:
    """Refuse an override of a command line that a later one replaces: it would be accepted and not used.

    Raises
    ------
    ScenarioError
        Naming both.
    """
    paths = [_path_of(text.partition("=")[0]) for text in overrides]
    for number, later in enumerate(paths):
        for earlier, given in zip(paths[:number], overrides, strict=False):
            if earlier[: len(later)] == later:
                raise ScenarioError(f"--set {given}: replaced by --set {overrides[number]}; give one of them")


def _path_of(dotted: str) -> KeyPath:
    return key_path(SHORT_NAMES.get(dotted, dotted))


def _validated(data: dict[str, Any], where: Callable[[KeyPath], str]) -> Scenario:
    try:
        # Through JSON, strict means what one expects: a list becomes a tuple, "tcp" a Transport, but "4" is no number.
        return Scenario.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as problem:
        raise scenario_error(problem, _schema(), data, where) from None


def _override(data: dict[str, Any], text: str, trace: Path | None) -> KeyPath:
    """Put one ``key=value`` into the data, and return the path it went to."""
    dotted, equals, value = text.partition("=")
    if not equals or not dotted:
        raise ScenarioError(f"--set {text}: expected key=value, such as transport=nvlink")
    said = f"--set {text}"
    path = _path_of(dotted)
    if trace is not None and (path == ("workload",) or path in GIVEN_BY_TRACE):
        raise ScenarioError(
            f"{said}: --trace {trace} gives the workload; drop one of them, or set single keys of the trace,"
            " such as --set workload.rate_scale=2"
        )
    wants_text = schema_of(_schema(), path).get("type") == "string"
    put(data, path, value if wants_text else scalar(value, said, error=ScenarioError), said)
    return path
