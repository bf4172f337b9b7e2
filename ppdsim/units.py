"""Unit rules: SI inside, milliseconds only when printing.

Every quantity carries its unit as a suffix (``_s``, ``_tokens``, ``_bytes``, ``_per_s``). The functions here are the
only place where seconds turn into milliseconds, so a column named ``_s`` never holds anything else.
"""

from __future__ import annotations

LARGEST = 1e15
"""Number beyond which nothing is read back [any unit]: in ms, or times another one, it may be no number any more."""
MS_PER_S = 1_000.0
NS_PER_S = 1_000_000_000
"""Milliseconds in a second [ms/s]."""
BYTES_PER_GB = 1e9
"""Bytes in a gigabyte, as links are sold [B/GB]."""


def too_large(document: object) -> bool:
    """Return whether a float in a document of lists and dicts is beyond `LARGEST`, or not finite.

    >>> too_large({"a": [1.0, {"b": -1e300}]}), too_large([float("nan")]), too_large({"a": (1, "1e300", None, True)})
    (True, True, False)
    """
    if isinstance(document, dict):
        return any(map(too_large, document.values()))
    if isinstance(document, (list, tuple)):
        return any(map(too_large, document))
    return isinstance(document, float) and not abs(document) <= LARGEST


def format_s(seconds: float) -> str:
    """Print a duration with the unit a person would pick.

    >>> format_s(0.01298), format_s(1.5), format_s(4.2e-5)
    ('13.0 ms', '1.50 s', '42 us')
    """
    size = abs(seconds)
    if size >= 1.0:
        return f"{seconds:.2f} s"
    if size >= 1e-3:
        return f"{seconds * MS_PER_S:.1f} ms"
    return f"{seconds * 1e6:.0f} us"


def format_quantity(value: float, unit: str) -> str:
    """Print a fitted number with a readable multiple of its unit.

    >>> format_quantity(8.634e-3, "s"), format_quantity(2.1768e-5, "s/token"), format_quantity(2.4661, "1")
    ('8.634 ms', '21.77 us/token', '2.466')
    >>> format_quantity(0.0, "s/token"), format_quantity(8.5571e-10, "s/token^2")
    ('0', '0.8557 ns/token^2')
    """
    if value == 0.0:
        return "0"
    if not unit.startswith("s"):
        return f"{value:.4g}"
    for factor, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")):
        if abs(value) >= factor or name == "ns":
            return f"{value / factor:.4g} {name}{unit[1:]}"
    return f"{value:.4g} {unit}"
