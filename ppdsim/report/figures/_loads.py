"""What the two load figures share: which load is shown, which quantity, and the panels of its turn classes."""

from __future__ import annotations

from ppdsim.accuracy import LoadErrors, Validation
from ppdsim.report.figures._views import choice

QUANTITY_NAMES = {"ttft": "TTFT", "tpot": "TPOT", "itl_max": "largest ITL", "e2e": "E2E"}
NO_LOAD = "no run has a load"


def loads_of(found: Validation) -> list[tuple[str, str, str, bool]]:
    """Return the key of every load that was simulated: (run, load, arm, anchored)."""
    return list(dict.fromkeys(row.load_key for row in found.loads))


def rows_of(found: Validation, load: int, quantity: str) -> list[LoadErrors]:
    """Return the turn classes of one load and quantity."""
    shown = loads_of(found)
    return [row for row in found.loads if row.load_key == shown[load] and row.quantity == quantity]


def load_choices(found: Validation, load: int, quantity: str) -> list[dict[str, object]]:
    """Return the choices of load and quantity."""
    options = [
        (i, f"{name}, {arm}, {'anchored' if anchored else 'not anchored'}, {run}")
        for i, (run, name, arm, anchored) in enumerate(loads_of(found))
    ]
    return [
        choice("load", "load", options, load),
        choice("load_quantity", "show", list(QUANTITY_NAMES.items()), quantity),
    ]
