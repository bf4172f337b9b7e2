"""The table of limits is the one that docs show, and every name in it stands once."""

from __future__ import annotations

import csv

import pytest

from ppdsim.errors import InputError, ProfileError
from ppdsim.limits import CSV_FIELD_CHARACTERS, LIMITS, YAML_NODES, table


def test_docs_show_the_table(repository):
    shown = (repository / "docs/reference/limits.md").read_text()
    assert table() in shown, f"docs/reference/limits.md: expected this table\n{table()}"


def test_names_and_reasons_are_there_once():
    assert len({limit.name for limit in LIMITS}) == len(LIMITS) >= 10
    assert all(limit.reason and limit.bounds and limit.unit for limit in LIMITS)


def test_the_limit_itself_is_accepted_and_one_more_is_not():
    YAML_NODES.check(YAML_NODES.value, "a")
    with pytest.raises(ProfileError, match=r"^a: given 10,001, more than the limit yaml_nodes = 10,000 values"):
        YAML_NODES.check(YAML_NODES.value + 1, "a", error=ProfileError)
    with pytest.raises(InputError, match=r"given 1e\+308, more"):
        YAML_NODES.check(1e308, "a")


def test_the_field_limit_is_the_one_of_the_module():
    assert csv.field_size_limit() == CSV_FIELD_CHARACTERS.value
