"""YAML with line numbers: plain Python data, and where each key stands.

YAML 1.2, so ``1e9`` is a number, ``on`` is a text, and a key given twice is an error. Of the rest of YAML, an alias is
the value that it stands for, counted as such; merge keys and tags are refused by name. A file is walked as it is
parsed, so that what is too deep or stands for too many values ends there.

Not modelled: several documents in one file; dates are texts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ppdsim.errors import InputError
from ppdsim.limits import YAML_BYTES, YAML_DEPTH, YAML_NODES
from ppdsim.reading import read_text

KeyPath = tuple[str | int, ...]
NUMBERS = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
"""Tags of plain scalars that are no text."""
REMEMBERED_CHARACTERS = 20_000
"""Up to this length a text is parsed once [characters]: tables and scenarios that are read again and again."""


class _Refused(Exception):
    """Something of YAML that is not read: at which line, and what; a limit says where the line goes."""

    def __init__(self, line: int, text: Callable[[str], str]) -> None:
        self.line = line
        self.text = text


def read(
    path: Path, *, error: type[InputError] = InputError, may_be_empty: bool = False
) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Read a mapping and the line, from 1, of each of its keys and list items.

    Raises
    ------
    InputError
        Or the class `error`: if the file cannot be read, is not YAML, or is not a mapping.
    """
    text = read_text(path, limit=YAML_BYTES, error=error)
    lines: dict[KeyPath, int] = {}
    found = _parsed(text, str(path), lines, error)
    if found is None and may_be_empty:
        return {}, lines
    if not isinstance(found, dict):
        raise error(f"{path}: expected keys and values, such as 'schema: ppdsim/scenario/1'")
    return found, lines


def scalar(text: str, where: str, *, error: type[InputError] = InputError) -> Any:
    """Read one value as a scenario file would: ``3`` is a number, ``[1, 2]`` a list, ``nvlink`` a text.

    Raises
    ------
    InputError
        Or the class `error`: if the text is not YAML; the message starts with `where`.
    """
    YAML_BYTES.check(len(text.encode(errors="replace")), f"{where[:60]}: bytes", error=error)
    return _parsed(text, where, None, error)


def _parsed(text: str, where: str, lines: dict[KeyPath, int] | None, error: type[InputError]) -> Any:
    """Return a document's value; `lines`, where they are wanted, are filled and named by the errors."""

    def place_of(line: int) -> str:
        return where if lines is None else f"{where}:{line + 1}"

    parse = _remembered if len(text) <= REMEMBERED_CHARACTERS else _document
    try:
        value, found = parse(text)
    except _Refused as refused:
        raise error(refused.text(place_of(refused.line))) from None
    except MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        raise error(f"{place_of(mark.line) if mark else where}: not YAML ({_one_line(problem.problem)})") from None
    except (YAMLError, ValueError) as problem:
        raise error(f"{where}: not YAML ({_one_line(str(problem))})") from None
    if lines is not None:
        lines.update(found)
    return copy.deepcopy(value)


def _document(text: str) -> tuple[Any, dict[KeyPath, int]]:
    """Return a document's value and the line of each of its keys and items; nobody may change them."""
    # Without a list of them, ruamel looks for plug-ins on disk each time.
    yaml = YAML(typ="safe", pure=True, plug_ins=[])
    yaml.Composer = _BoundedComposer
    node = yaml.compose(text)
    lines: dict[KeyPath, int] = {}
    return (None if node is None else _Reader(yaml.constructor, lines).value(node, ())), lines


_remembered: Any = lru_cache(maxsize=256)(_document)


def _one_line(text: str | None) -> str:
    return " ".join((text or "unreadable").split())[:120]


class _BoundedComposer(Composer):
    """Builds the tree of a document, no deeper and no larger than the limits."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader=loader)
        # An anchor may be set again (YAML 1.2, section 3.2.2.2).
        self.warn_double_anchors = False
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        line = event.start_mark.line
        self._nodes += 1
        if self._nodes > YAML_NODES.value:
            raise _Refused(line, lambda where: YAML_NODES.refusal(where, "more values"))
        if self._depth > YAML_DEPTH.value:
            raise _Refused(line, lambda where: YAML_DEPTH.refusal(where, "nested deeper"))
        tag = None if isinstance(event, AliasEvent) else event.tag
        if tag is not None:
            raise _Refused(line, lambda where: f"{where}: tag '{tag}' is not read; write the plain value")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Reader:
    """Turns a tree into plain data."""

    def __init__(self, constructor: SafeConstructor, lines: dict[KeyPath, int]) -> None:
        self._constructor = constructor
        self._lines = lines
        self._nodes = 0

    def value(self, node: Node, path: KeyPath) -> Any:
        """Return the value of a node at `path`; its keys and items are added to the lines."""
        self._nodes += 1
        line = node.start_mark.line
        # What aliases stand for counts too: nine of nine of nine.
        if self._nodes > YAML_NODES.value:
            raise _Refused(line, lambda where: YAML_NODES.refusal(where, "aliases that stand for more values"))
        if len(path) > YAML_DEPTH.value:
            raise _Refused(line, lambda where: YAML_DEPTH.refusal(where, "nested deeper"))
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _item(self, node: Node, path: KeyPath) -> Any:
        self._lines[path] = node.start_mark.line + 1
        return self.value(node, path)

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line
            if not isinstance(key_node, ScalarNode):
                raise _Refused(line, lambda where: f"{where}: a list or a block as a key, expected a text")
            key = key_node.value
            if key == "<<" and key_node.style is None:
                raise _Refused(line, lambda where: f"{where}: merge key '<<' is not read; write its keys out")
            if key in found:
                raise _Refused(line, lambda where, key=key: f"{where}: key '{key}' is there twice")  # type: ignore[misc]
            self._lines[(*path, key)] = line + 1
            found[key] = self.value(value_node, (*path, key))
        return found

    def _scalar(self, node: Node) -> Any:
        if node.tag not in NUMBERS:
            return str(node.value)
        try:
            return self._constructor.construct_object(node)
        except ValueError:
            line, given = node.start_mark.line, _one_line(node.value)[:40]
            raise _Refused(line, lambda where: f"{where}: given {given}, expected a number that can be read") from None
