"""Every test that the table of engine mechanisms names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTION = (
    (ROOT / "docs/design/simulator.md").read_text(encoding="utf-8").split("## Engine mechanisms and their tests")[1]
)
ROWS = [line for line in SECTION.split("\n## ")[0].splitlines() if line.startswith("| ")][2:]


@pytest.mark.parametrize("row", ROWS)
def test_a_mechanism_names_tests_that_exist(row):
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
    assert named
    for path, function in named:
        tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
