"""Results as files: one JSON document, written whole (`files`) and read back as strictly as any input.

Not modelled: what the parts of a result have to do with each other; the module that reads a result checks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from ppdsim.errors import InputError
from ppdsim.reading import parse_json, read_text
from ppdsim.units import LARGEST, too_large

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")


def to_json(found: DataclassInstance) -> bytes:
    """Return a result as one JSON document."""
    return orjson.dumps(asdict(found), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def json_schema(kinds: Sequence[Any], *, words: Sequence[str] = ()) -> dict[str, Any]:
    """Return the JSON Schema of a document that is one of the kinds, as `to_json` writes them.

    What a kind leaves to its default is written too, a number that is not finite is null, and further keys are allowed.

    Parameters
    ----------
    words : sequence of str
        Texts that stand for numbers.
    """
    adapters = [TypeAdapter(kind) for kind in kinds]
    named, shared = TypeAdapter.json_schemas([(at, "serialization", adapter) for at, adapter in enumerate(adapters)])
    made = {**shared, "anyOf": list(named.values())}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_open(made, words)}


def _open(node: Any, words: Sequence[str]) -> Any:
    if isinstance(node, list):
        return [_open(item, words) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _open(item, words) for key, item in node.items() if key != "additionalProperties" or item}
    if found.get("type") == "number":
        found["type"] = ["number", "null"]
        if words:
            return {"anyOf": [found, {"enum": list(words)}]}
    if "properties" in found:
        found["required"] = sorted(found["properties"])
    return found


def read(
    path: Path, kind: type[R], contradictions: Callable[[R], Iterator[str]], *, produced_by: str, regenerate_with: str
) -> R:
    """Return the result that a file holds.

    Parameters
    ----------
    contradictions : callable
        Yields what does not fit together in a result whose every value has the right type.
    produced_by, regenerate_with : str
        The command that writes such a file, and the one that writes it again: the ends of the errors.

    Raises
    ------
    InputError
        If it cannot be read, or is something else.
    """
    text = read_text(path, hint=f"; {produced_by}")
    parse_json(text, str(path), hint=f"; {regenerate_with}")
    try:
        found = TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {place + ': ' if place else ''}{first['msg']}; {regenerate_with}") from None
    if too_large(asdict(found)):
        raise InputError(f"{path}: a number is not finite, or beyond {LARGEST:g}; {regenerate_with}")
    wrong = next(contradictions(found), None)
    if wrong is not None:
        raise InputError(f"{path}: {wrong}; {regenerate_with}")
    return found
