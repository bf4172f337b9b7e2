"""The table of limits is the one that docs show, and every name in it stands once."""

from __future__ import annotations

import ast
import csv
from itertools import pairwise

import pytest

from ppdsim import limits
from ppdsim.errors import InputError, ProfileError
from ppdsim.limits import CSV_FIELD_CHARACTERS, LIMITS, YAML_NODES, Limit


def table(source):
    """Return the limits as a table, from the module's text: below each stands what it bounds, and why there."""
    body = ast.parse(source).body
    rows = ["| limit | value | of what | why there |", "| --- | --- | --- | --- |"]
    for node, below in pairwise(body):
        limit = getattr(limits, ast.unparse(node.targets[0]), None) if isinstance(node, ast.Assign) else None
        if isinstance(limit, Limit):
            bounds, reason = " ".join(below.value.value.removesuffix(".").split()).split(". ", 1)
            rows.append(f"| `{limit.name}` | {limit.value:,} {limit.unit} | {bounds} | {reason} |")
    return rows


def test_docs_show_the_table(repository):
    shown = (repository / "docs/reference/limits.md").read_text()
    rows = table((repository / "ppdsim/limits.py").read_text())
    assert len(rows) == len(LIMITS) + 2
    text = "\n".join(rows)
    assert text in shown, f"docs/reference/limits.md: expected this table\n{text}"


def test_names_are_there_once():
    assert len({limit.name for limit in LIMITS}) == len(LIMITS) >= 10
    assert all(limit.unit for limit in LIMITS)


def test_the_limit_itself_is_accepted_and_one_more_is_not():
    YAML_NODES.check(YAML_NODES.value, "a")
    with pytest.raises(ProfileError, match=r"^a: given 10,001, more than the limit yaml_nodes = 10,000 values"):
        YAML_NODES.check(YAML_NODES.value + 1, "a", error=ProfileError)
    with pytest.raises(InputError, match=r"given 1e\+308, more"):
        YAML_NODES.check(1e308, "a")


def test_the_field_limit_is_the_one_of_the_module():
    assert csv.field_size_limit() == CSV_FIELD_CHARACTERS.value
