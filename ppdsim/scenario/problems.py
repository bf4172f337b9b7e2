"""From a pydantic report to one line: where, key, what was given, what was expected, the nearest key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ppdsim.errors import ScenarioError, nearest
from ppdsim.limits import LIMITS
from ppdsim.printable import shortened
from ppdsim.schema_keys import Schema, dotted_keys
from ppdsim.yaml_file import KeyPath


def key_path_text(path: Sequence[str | int]) -> str:
    """Print a path as ``fleet[0].role``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def schema_of(root: Schema, path: Sequence[str | int]) -> Schema:
    """Return the JSON Schema that governs the value at `path`; empty where the schema knows no such key.

    The path may hold the tags by which pydantic names the chosen branch of a union.
    """
    node = _followed(root, root)
    for part in path:
        mapping = node.get("discriminator", {}).get("mapping", {})
        if part in mapping:
            node = {"$ref": mapping[part]}
        elif isinstance(part, int):
            node = node.get("items", {})
        else:
            node = node.get("properties", {}).get(part, {})
        node = _followed(root, node)
    return node


def _followed(root: Schema, node: Schema) -> Schema:
    while "$ref" in node:
        node = root["$defs"][node["$ref"].rsplit("/", 1)[1]]
    choices = [choice for choice in node.get("anyOf", ()) if choice.get("type") != "null"]
    return _followed(root, choices[0]) if choices and len(choices) < len(node["anyOf"]) else node


def scenario_error(
    problem: ValidationError, root: Schema, data: Mapping[str, Any], where: Callable[[KeyPath], str]
) -> ScenarioError:
    """Describe the first problem of a report; `where` prints the place of a key."""
    errors = problem.errors(include_url=False)
    first = next((error for error in errors if _is_a_slip(error, root)), errors[0])
    path, given = _in_data(first["loc"], data)
    key = key_path_text(path)
    if first["type"] == "extra_forbidden":
        valid = _keys_at(root, first["loc"][:-1])
        text = f"unknown key '{key}' (valid: {', '.join(valid)}){_meant(root, first['loc'])}"
    elif first["type"] == "missing":
        text = f"key '{key}' is missing"
    elif first["type"].startswith("union_tag"):
        valid = sorted(schema_of(root, first["loc"]).get("discriminator", {}).get("mapping", {}))
        tag = given.get("kind") if isinstance(given, Mapping) else given
        path = (*path, "kind")
        text = f"{key}.kind: given {shortened(tag)}, expected one of {', '.join(valid)}{nearest(str(tag), valid)}"
    elif first["type"] == "too_long":
        text = f"{key}: given {first['ctx']['actual_length']:,} values, expected at most {_limit(root, first)}"
    elif first["type"] == "less_than_equal" and _limit(root, first):
        text = f"{key}: given {shortened(given)}, expected at most {_limit(root, first)}"
    elif first["type"] == "too_short":
        text = f"{key}: given {shortened(given)}, expected at least {first['ctx']['min_length']} in the list"
    else:
        text = f"{key}: {_expectation(first['msg'], given)}" if key else first["msg"].removeprefix("Value error, ")
        choices = [str(choice) for choice in schema_of(root, first["loc"]).get("enum", ())]
        text += nearest(str(given), choices)
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return ScenarioError(f"{where(path)}: {text}{more}")


def _limit(root: Schema, error: ErrorDetails) -> str:
    """Return the limit that a value is above: its value, its name, and where to read of it."""
    name = schema_of(root, error["loc"]).get("limit")
    limit = next((limit for limit in LIMITS if limit.name == name), None)
    return "" if limit is None else f"{limit.value:,}, the limit {limit.name} (docs/reference/limits.md)"


def _keys_at(root: Schema, path: Sequence[str | int]) -> list[str]:
    return sorted(schema_of(root, path).get("properties", {}))


def _meant(root: Schema, loc: Sequence[str | int]) -> str:
    """Suggest keys of the same block, or the same key in another one."""
    return nearest(str(loc[-1]), _keys_at(root, loc[:-1]), elsewhere=dotted_keys(root))


def _is_a_slip(error: ErrorDetails, root: Schema) -> bool:
    """Tell a misspelt key; it explains better than the missing key that it causes."""
    loc = error["loc"]
    return error["type"] == "extra_forbidden" and _meant(root, loc) != ""


def _expectation(message: str, given: Any) -> str:
    if message.startswith("Value error, "):
        return message.removeprefix("Value error, ")
    return f"given {shortened(given)}, expected {message.removeprefix('Input should be ').removeprefix('a valid ')}"


def _in_data(loc: Sequence[str | int], data: Any) -> tuple[KeyPath, Any]:
    """Walk `loc` through the data without the union tags: the path, and the value there."""
    path: list[str | int] = []
    node: Any = data
    for position, part in enumerate(loc):
        inside = part in node if isinstance(node, Mapping) else isinstance(node, list) and part in range(len(node))
        if inside:
            path.append(part)
            node = node[part]
        elif position == len(loc) - 1 and isinstance(node, Mapping) and node.get("kind") != part:
            path.append(part)
            node = None
    return tuple(path), node
