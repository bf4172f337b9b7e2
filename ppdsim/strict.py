"""The base of records that a file holds: unknown keys are errors, and how such an error reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppdsim.errors import nearest
from ppdsim.limits import COUNT

Count = Annotated[int, Field(gt=0, le=COUNT.value)]
"""A count of at least one."""
Amount = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
"""A quantity above nothing."""


class Strict(BaseModel):
    """A frozen record without unknown keys; a number is finite, and one that is missing is left out or null."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def explain(error: ValidationError, fields: Iterable[str], *, tags: tuple[str, ...] = ()) -> str:
    """Put the first schema error in one line: key, what was given, what was expected, nearest key.

    `tags` are the names of union members, which pydantic puts into the key.
    """
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if part not in tags)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        # A dotted key counts no items: fleet.0.count is fleet.N.count.
        dotted = re.sub(r"\b\d+\b", "N", key)
        return f"unknown key '{key}'{nearest(dotted, fields)}"
    if first["type"] == "missing":
        return f"missing key '{key}'"
    if first["type"] == "json_invalid":
        return f"malformed JSON ({first['msg']})"
    return f"'{key}' = {first.get('input')!r}: {first['msg'].lower()}"
