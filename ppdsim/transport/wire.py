"""The link alone: seconds of one call of the transfer engine, by bytes and by blocks.

::

    t = call_s + block_s * blocks + byte_s * size_bytes

Blocks are contiguous runs of KV; over TCP each costs a copy and a slice of its own, so that fragmentation or a page of
one token changes a transfer by orders of magnitude. Not modelled: several transfers at once, the scheduler
around the engine, that large blocks are sent in parallel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppdsim.cost.base import AbstractCurve, Parameter, Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class WireCurve(AbstractCurve):
    """Seconds of one transfer over an idle link."""

    kind: ClassVar[str] = "transfer"
    PARAMETERS: ClassVar[tuple[Parameter, ...]] = (
        Parameter(name="call_s", unit="s", low=0.0, high=1.0, meaning="one call of the engine"),
        Parameter(name="block_s", unit="s", low=0.0, high=0.1, meaning="one more contiguous block"),
        Parameter(name="byte_s", unit="s/byte", low=0.0, high=1e-6, meaning="one byte on the link"),
    )
    call_s: Quantity
    block_s: Quantity
    byte_s: Quantity

    def seconds(self, size_bytes: Quantity, blocks: Quantity) -> Quantity:
        """Return the seconds of one transfer of `size_bytes` in `blocks` pieces."""
        return self.call_s + self.block_s * blocks + self.byte_s * size_bytes
