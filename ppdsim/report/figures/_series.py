"""Numbers on their way into a figure: seconds to milliseconds, gaps for what cannot be drawn, bands, broken lines.

Plotly reads None as a gap; NaN and infinities never reach the page, because JSON has neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ppdsim.units import MS_PER_S

Gapped = list[float | None]
"""Values of a line; None is a gap."""


def finite(value: float | None) -> float | None:
    """Return the value, or None where it is missing, NaN or infinite.

    >>> finite(2.0), finite(float("inf")), finite(None)
    (2.0, None, None)
    """
    return value if value is not None and math.isfinite(value) else None


def ms(values_s: Sequence[float]) -> Gapped:
    """Return seconds as milliseconds with gaps.

    >>> ms([0.013, float("nan")])
    [13.0, None]
    """
    return [None if finite(v) is None else v * MS_PER_S for v in values_s]


def solid(values: Sequence[float | None], extrapolated: Sequence[bool]) -> Gapped:
    """Return the part of a line that was measured.

    >>> solid([1.0, 2.0, 3.0], [False, False, True])
    [1.0, 2.0, None]
    """
    return [None if outside else value for value, outside in zip(values, extrapolated, strict=True)]


def dashed(values: Sequence[float | None], extrapolated: Sequence[bool]) -> Gapped:
    """Return the extrapolated part of a line, with the neighbours that its first and last pieces start from.

    >>> dashed([1.0, 2.0, 3.0], [False, False, True])
    [None, 2.0, 3.0]
    """
    flags = [False, *extrapolated, False]
    return [value if any(flags[i : i + 3]) else None for i, value in enumerate(values)]


def polygon(low: Sequence[float | None], high: Sequence[float | None]) -> list[tuple[int, int]]:
    """Return the corners of a band as (index, 0 for low or 1 for high): along the low edge and back along the high one.

    Points where either edge is missing are left out.

    >>> polygon([1.0, None, 3.0], [2.0, 2.5, 4.0])
    [(0, 0), (2, 0), (2, 1), (0, 1)]
    """
    known = [i for i, (a, b) in enumerate(zip(low, high, strict=True)) if a is not None and b is not None]
    return [(i, 0) for i in known] + [(i, 1) for i in reversed(known)]


def short_tokens(tokens: int) -> str:
    """Print a token count for a tick: powers of two in binary k.

    >>> short_tokens(256), short_tokens(8192), short_tokens(1536), short_tokens(5000)
    ('256', '8k', '1.5k', '5000')
    """
    if tokens < 1024 or tokens % 512:
        return str(tokens)
    return f"{tokens / 1024:g}k"
