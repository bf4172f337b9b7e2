"""The dotted keys of a JSON Schema: what a file, or ``--set``, may name.

An item of a list is ``N`` (``fleet.N.count``), as in the reference of scenarios.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]


def dotted_keys(root: Schema) -> list[str]:
    """Return every dotted key, parents before children, each once.

    >>> item = {"properties": {"count": {}}}
    >>> dotted_keys({"properties": {"seed": {}, "fleet": {"items": {"$ref": "#/$defs/Item"}}}, "$defs": {"Item": item}})
    ['seed', 'fleet', 'fleet.N.count']
    """
    return list(dict.fromkeys(_walk(root, root, "", ())))


def _walk(root: Schema, node: Schema, prefix: str, inside: tuple[str, ...]) -> Iterator[str]:
    reference = node.get("$ref")
    if reference is not None:
        if reference not in inside:
            yield from _walk(root, root["$defs"][reference.rsplit("/", 1)[1]], prefix, (*inside, reference))
        return
    for part in (*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())):
        yield from _walk(root, part, prefix, inside)
    items = node.get("items")
    if isinstance(items, Mapping):
        yield from _walk(root, items, f"{prefix}N.", inside)
    for name, below in node.get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from _walk(root, below, f"{prefix}{name}.", inside)
