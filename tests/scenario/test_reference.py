"""docs/reference/scenario.md names every key of the schema, and no key that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from ppdsim import scenario


def test_the_reference_names_exactly_the_keys(repository: Path) -> None:
    schema = scenario.json_schema()
    keys = {key for node in [schema, *schema["$defs"].values()] for key in node.get("properties", {})} - {"kind"}
    tables = [line for line in (repository / "docs/reference/scenario.md").read_text().splitlines() if line[:1] == "|"]
    first_cells = re.findall(r"`([a-z_.\[\]]+)`", " ".join(line.split("|")[1] for line in tables))
    inline = {word for braces in re.findall(r"\{kind: \w+, ([^}]*)\}", " ".join(tables)) for word in braces.split(", ")}
    beside_tables = {"name", "set"}
    dotted = {part.removesuffix("[]") for cell in first_cells for part in cell.split(".")}
    named = dotted | inline | beside_tables | {"arm"}
    assert named == keys
