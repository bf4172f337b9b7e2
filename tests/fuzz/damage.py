"""Damage to files: bytes changed, cut or repeated; values of a document replaced, dropped, added or renamed."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2**31, 2**63, 2**70, 10**400, 0.0, -0.5, 1e-300, 1e300, 5e-324]),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["1", "nan", "true", "P", "../x", "a\nb", "\x00", "é"]),
    st.lists(st.integers(-2, 2), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(0, 3), max_size=2),
)
"""A value that nobody should write there."""
LARGEST_WHOLE = 10**300
"""Whole numbers from here on are not multiplied by a broken one: no float holds them."""
EDITS = ("replace", "replace", "replace", "drop", "add", "rename", "repeat", "scale")


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a document."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    found = [path] if path else []
    for key, value in inner:
        found += places(value, (*path, key))
    return found


@st.composite
def documents(draw: Any, valid: Any) -> Any:
    """Draw `valid` with one to three edits."""
    document = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        where = places(document)
        if not where:
            return draw(ODD)
        path = where[draw(st.integers(0, len(where) - 1))]
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        _edit(draw, parent, path[-1], draw(st.sampled_from(EDITS)))
    return document


def _edit(draw: Any, parent: Any, key: Any, edit: str) -> None:
    value = parent[key]
    if edit == "drop":
        del parent[key]
    elif edit == "add" and isinstance(parent, dict):
        parent[draw(st.text(max_size=6))] = draw(ODD)
    elif edit == "rename" and isinstance(parent, dict):
        parent[draw(st.sampled_from([str(key)[:-1], str(key) + "s", str(key).upper()]))] = parent.pop(key)
    elif edit == "repeat" and isinstance(parent, list):
        parent.append(copy.deepcopy(value))
    elif edit == "scale" and isinstance(value, (int, float)) and not isinstance(value, bool):
        factor = draw(st.sampled_from([-1, 1000, 0.001, 1e9]))
        # An earlier edit may have put a whole number here that no float holds.
        parent[key] = value * factor if abs(value) < LARGEST_WHOLE else -value
    else:
        parent[key] = draw(ODD)


@st.composite
def texts(draw: Any, valid: bytes) -> bytes:
    """Draw `valid` with some of its bytes replaced, cut or repeated; rarely something else altogether."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60))
    at = draw(st.integers(0, max(len(valid) - 1, 0)))
    length = draw(st.integers(0, 12))
    insert = draw(
        st.one_of(st.binary(max_size=6), st.sampled_from([b"\n", b":", b"{", b"[", b'"', b"\x00", b"- ", b"\xff"]))
    )
    how = draw(st.sampled_from(["splice", "cut", "twice"]))
    if how == "cut":
        return valid[:at]
    if how == "twice":
        return valid[:at] + valid[max(at - 40, 0) : at] + valid[at:]
    return valid[:at] + insert + valid[at + length :]
