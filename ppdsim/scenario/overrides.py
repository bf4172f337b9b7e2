"""Put a value at a dotted key of plain data: ``routing.policy``, ``fleet.0.count``."""

from __future__ import annotations

from typing import Any

from ppdsim.errors import ScenarioError, nearest
from ppdsim.scenario.problems import key_path_text
from ppdsim.yaml_file import KeyPath


def key_path(dotted: str) -> KeyPath:
    """Return the path that a dotted key names; digits count list items from 0.

    >>> key_path("fleet.0.count")
    ('fleet', 0, 'count')
    """
    return tuple(int(part) if part.isdecimal() else part for part in dotted.split("."))


def engine_block(given: str) -> dict[str, str]:
    """Return the block that a scenario's engine in one word stands for.

    >>> engine_block("sglang-0.5.17"), engine_block("sglang")
    ({'name': 'sglang', 'version': '0.5.17'}, {'name': 'sglang'})
    """
    name, dash, version = given.rpartition("-")
    return {"name": name, "version": version} if dash else {"name": given}


def put(data: dict[str, Any], path: KeyPath, value: Any, said: str) -> None:
    """Put `value` at `path`; blocks on the way that are missing are made.

    Raises
    ------
    ScenarioError
        If the path leads through something that has no such key or item; the message starts with `said`.
    """
    node: Any = data
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(node, list) and isinstance(part, int):
            if part >= len(node):
                raise ScenarioError(f"{said}: {key_path_text(path[:depth])} has {len(node)} items, counted from 0")
        elif isinstance(node, dict) and isinstance(part, str):
            if not last and node.get(part) is None:
                node[part] = {}
            elif not last and path[: depth + 1] == ("engine",) and isinstance(node["engine"], str):
                node["engine"] = engine_block(node["engine"])
        elif isinstance(node, list):
            item = ".".join(map(str, (*path[:depth], 0, *path[depth:])))
            raise ScenarioError(
                f"{said}: {key_path_text(path[:depth])} is a list of {len(node)} items; did you mean {item!r}?"
            )
        else:
            valid = sorted(node) if isinstance(node, dict) else []
            raise ScenarioError(f"{said}: no key '{part}' in {key_path_text(path[:depth])}{nearest(str(part), valid)}")
        if last:
            node[part] = value
        else:
            node = node[part]
