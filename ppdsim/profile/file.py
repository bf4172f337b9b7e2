"""Reading and writing a profile file: JSON under 100 KB, checked key by key and number by number.

`load` is the only way in: every command that uses a profile reads it here, so none meets a number that is not finite,
lies outside its curve's bounds, or belongs to a ragged row of draws (`ppdsim.profile.numbers`).
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from ppdsim.errors import ProfileError
from ppdsim.files import write_whole
from ppdsim.profile.numbers import check_numbers
from ppdsim.profile.records import SCHEMA, Profile
from ppdsim.reading import parse_json, read_text
from ppdsim.schema_keys import dotted_keys
from ppdsim.strict import explain

ALWAYS = ("prefill", "frontend", "decode", "stall")
"""Curves without which a profile answers nothing."""
REMEMBERED = 8
"""Profiles that are kept as they were checked: each point of a sweep reads the same few files."""


def load(path: Path) -> Profile:
    """Read a profile file.

    Raises
    ------
    ProfileError
        Naming the file, the key or curve and parameter, what was given and what was expected.
    """
    return _checked(read_text(path, error=ProfileError), path)


@lru_cache(maxsize=REMEMBERED)
def _checked(text: str, path: Path) -> Profile:
    """Return the profile that a file's text holds; `path` is what errors about it begin with."""
    content = parse_json(text, str(path), error=ProfileError)
    schema = content.get("schema") if isinstance(content, dict) else None
    if isinstance(schema, str) and schema.startswith(SCHEMA.rpartition("/")[0]) and schema != SCHEMA:
        raise ProfileError(
            f"{path}: schema {schema}, expected {SCHEMA}; 'ppdsim fit MEASUREMENTS -o FILE' makes a new profile from"
            " its measurements"
        )
    try:
        found = Profile.model_validate_json(orjson.dumps(content), strict=True)
    except ValidationError as error:
        detail = explain(error, dotted_keys(Profile.model_json_schema()))
        raise ProfileError(f"{path}: {detail}; expected a profile of schema {SCHEMA}") from None
    missing = [kind for kind in ALWAYS if not any(record.kind == kind for record in found.curves)]
    if missing:
        raise ProfileError(f"{path}: no curve '{missing[0]}'; expected {', '.join(ALWAYS)} and hand-offs")
    found._path = path
    check_numbers(found)
    return found


def to_json(profile: Profile) -> str:
    """Return the file's text: a parameter, a draw or a list of sizes a line, so that a diff can be read."""
    content: dict[str, Any] = profile.model_dump(mode="json", by_alias=True)
    lines: list[str] = []
    for curve in content["curves"]:
        for key in ("parameters", "draws"):
            lines.extend(json.dumps(item) for item in curve[key])
            curve[key] = [f"@{len(lines) - len(curve[key]) + i}" for i in range(len(curve[key]))]
    engine = content["engine"]
    for key in ("decode_graph_sizes", "prefill_graph_sizes_tokens"):
        lines.append(json.dumps(engine[key]))
        engine[key] = f"@{len(lines) - 1}"
    text = json.dumps(content, indent=1)
    for index, line in reversed(list(enumerate(lines))):
        text = text.replace(f'"@{index}"', line, 1)
    return text + "\n"


def save(profile: Profile, path: Path) -> None:
    """Write the profile; the file appears whole or not at all."""
    write_whole(path, to_json(profile))


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a profile file."""
    return Profile.model_json_schema(by_alias=True)
