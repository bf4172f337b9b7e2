"""Blocks of a trace, several in a row taken together, each named by what stands before it too.

Equal names mean an equal prefix up to and including that block, whatever the ids of the trace mean by themselves.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

SMALLEST_BLOCK_TOKENS = 64
"""Smallest block that machines are asked about: the page of the shipped profiles [tokens]."""

Blocks = dict[bytes, int]
"""Name of each block, by (name of the block before it, or of the table that the ids belong to; its ids) as 64-bit
numbers: a tuple of them would keep every id alive."""


def merged(ids: Sequence[int], together: int, table: int, blocks: Blocks) -> tuple[int, ...]:
    """Return the names of the blocks that each `together` ids make up; ids that are left over make up none.

    Parameters
    ----------
    table : int
        A negative number: ids of different tables never share.

    Examples
    --------
    >>> known: Blocks = {}
    >>> merged([5, 6, 7], 2, -1, known), merged([5, 6, 8, 9], 2, -1, known), merged([5, 6], 2, -2, known)
    ((0,), (0, 1), (2,))
    """
    names: list[int] = []
    before = table
    for start in range(0, len(ids) - together + 1, together):
        before = blocks.setdefault(array("q", (before, *ids[start : start + together])).tobytes(), len(blocks))
        names.append(before)
    return tuple(names)
