"""The limits of ``--slo ttft_ms=500,tpot_ms=25``: the keys and units of a scenario's ``slo`` block."""

from __future__ import annotations

import math

from ppdsim.errors import InputError, nearest
from ppdsim.scenario import Slo
from ppdsim.scenario.lengths import LARGEST


def parse_limits(text: str) -> Slo:
    """Return the limits that a text names; what it does not name is not applied.

    >>> parse_limits("ttft_ms=500, tpot_ms=25").ttft_ms
    500.0

    Raises
    ------
    InputError
        If a part is no ``key=milliseconds``, a key is unknown or given twice, or a value is no positive number.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise InputError(f"--slo {text}: '{part.strip()}' is no limit; expected such as ttft_ms=500,tpot_ms=25")
        if key not in Slo.model_fields:
            valid = tuple(Slo.model_fields)
            hint = nearest(key, valid)
            raise InputError(f"--slo {text}: unknown limit '{key}' (valid: {', '.join(valid)}){hint}")
        if key in found:
            raise InputError(f"--slo {text}: {key} is given twice")
        found[key] = _milliseconds(text, key, value)
    return Slo(**found)


def _milliseconds(text: str, key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 1.0 / LARGEST <= number <= LARGEST:
        raise InputError(
            f"--slo {text}: {key}: given '{value}', expected a positive number of milliseconds, at most {LARGEST:g}"
        )
    return number
