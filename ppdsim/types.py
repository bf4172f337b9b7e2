"""The nouns: arms, transports, node roles, model shape. Everything else imports these.

Symbols follow the field: a turn's prompt has ``cached_tokens`` (L) on the decode machine and ``new_tokens`` (m) that
it lacks; ``arm`` says who prefills; ``transport`` says what the KV travels over.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Arm(str, Enum):
    """Who prefills a turn, and what travels (model.md, "Arms")."""

    APPEND_D = "append-d"
    P_FULL = "p-full"
    P_DELTA = "p-delta"


class Transport(str, Enum):
    """What the KV of a hand-off travels over; an append on D moves nothing."""

    NONE = "none"
    NVLINK = "nvlink"
    TCP = "tcp"
    RDMA = "rdma"


def arm_name(arm: Arm, transport: Transport) -> str:
    """Return how cells, plans, curves and tables name an arm.

    >>> arm_name(Arm.P_DELTA, Transport.TCP), arm_name(Arm.APPEND_D, Transport.NONE)
    ('p-delta:tcp', 'append-d')
    """
    return arm.value if transport is Transport.NONE else f"{arm.value}:{transport.value}"


class NodeRole(str, Enum):
    """What a node does: P prefill only, D decode only, U both without hand-off, pD both with hand-off."""

    P = "P"
    D = "D"
    U = "U"
    PD = "pD"


class Tag(str, Enum):
    """Where a number comes from."""

    MEASURED = "measured"
    ASSUMED = "assumed"
    MECHANISM = "mechanism, unmeasured"
    PRIOR = "named prior"
    CHOSEN = "chosen by cross-validation"
    DERIVED = "derived"
    DATA_SHEET = "data-sheet"

    @property
    def unmeasured(self) -> bool:
        """Return whether the number is unmeasured on the machine that it is stated for: such a line is dashed."""
        return self in (Tag.MECHANISM, Tag.DERIVED, Tag.DATA_SHEET)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The dense transformer that a profile was measured with."""

    name: str
    layers: int
    kv_heads: int
    query_heads: int
    head_dim: int
    dtype_bytes: int

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of KV that one token holds: 2 (K and V) x layers x KV heads x head size x dtype [B/token]."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype_bytes
