"""YAML with line numbers: plain Python data, and where each key stands.

YAML 1.2, so ``1e9`` is a number, ``on`` is a text, and a key given twice is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from ppdsim.errors import ScenarioError

KeyPath = tuple[str | int, ...]


def read(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Read a mapping and the line, from 1, of each of its keys and list items.

    Raises
    ------
    ScenarioError
        If the file cannot be read, is not YAML, or is not a mapping.
    """
    try:
        tree = YAML(typ="rt", pure=True).load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ScenarioError(f"{path}{line}: not YAML ({_one_line(problem.problem)})") from None
    except (YAMLError, ValueError, RecursionError) as problem:
        raise ScenarioError(f"{path}: not YAML ({_one_line(str(problem))})") from None
    except OSError as problem:
        raise ScenarioError(f"{path}: cannot be read ({problem.strerror})") from None
    if not isinstance(tree, CommentedMap):
        raise ScenarioError(f"{path}: expected keys and values, such as 'schema: ppdsim/scenario/1'")
    lines: dict[KeyPath, int] = {}
    _collect_lines(tree, (), lines)
    plain: dict[str, Any] = _plain(tree)
    return plain, lines


def scalar(text: str, where: str) -> Any:
    """Read one value as a scenario file would: ``3`` is a number, ``[1, 2]`` a list, ``nvlink`` a text.

    Raises
    ------
    ScenarioError
        If the text is not YAML; the message starts with `where`.
    """
    try:
        return _plain(YAML(typ="rt", pure=True).load(text))
    except (YAMLError, ValueError, RecursionError) as problem:
        raise ScenarioError(f"{where}: not YAML ({_one_line(str(problem))})") from None


def _one_line(text: str | None) -> str:
    return " ".join((text or "unreadable").split())[:120]


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return None if node is None else str(node)


def _collect_lines(node: Any, path: KeyPath, lines: dict[KeyPath, int]) -> None:
    if isinstance(node, CommentedMap):
        for key in node:
            lines[(*path, str(key))] = node.lc.key(key)[0] + 1
            _collect_lines(node[key], (*path, str(key)), lines)
    elif isinstance(node, CommentedSeq):
        for index, item in enumerate(node):
            lines[(*path, index)] = node.lc.item(index)[0] + 1
            _collect_lines(item, (*path, index), lines)
