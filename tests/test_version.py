"""The version stands in one place; what repeats it must agree."""

from __future__ import annotations

import re
from pathlib import Path

import ppdsim


def test_the_citation_has_the_package_s_version(repository: Path) -> None:
    found = re.search(r"^version: (.+)$", (repository / "CITATION.cff").read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == ppdsim.__version__
