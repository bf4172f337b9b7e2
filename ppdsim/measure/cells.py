"""The cells of a calibration: what is measured, each with a key that the raw file and ``--resume`` know it by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ppdsim.types import Arm, Transport, arm_name

Purpose = Literal["fit", "validation", "probe"]
TURN_TOKENS_PER_STEP = 16
"""Tokens of a turn that are prefilled and handed over during one decode step, unless a plan says otherwise [tokens]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillCell:
    """One turn of `new_tokens` on `cached_tokens` at idle machines."""

    arm: Arm
    transport: Transport
    cached_tokens: int
    new_tokens: int
    purpose: Purpose = "fit"
    kind: ClassVar[str] = "prefill"

    @property
    def key(self) -> str:
        """Name of the cell in the raw file."""
        return f"{self.purpose}/{self.kind}/{arm_name(self.arm, self.transport)}/{self.cached_tokens}/{self.new_tokens}"

    @property
    def context_tokens(self) -> int:
        """KV that it needs [tokens]."""
        return self.cached_tokens + self.new_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeCell:
    """`batch` streams of prompts of `prompt_tokens` decoding together."""

    batch: int
    prompt_tokens: int
    purpose: Purpose = "fit"
    kind: ClassVar[str] = "decode"

    @property
    def key(self) -> str:
        """Name of the cell in the raw file."""
        return f"{self.purpose}/{self.kind}/{self.batch}/{self.prompt_tokens}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StallCell:
    """Turns of (cached_tokens, new_tokens) injected into `batch` streams of `prompt_tokens`: appends or hand-offs.

    At least `turn_tokens_per_step` of a turn are served during one step of the streams; it decides how long these run.
    """

    arm: Arm
    transport: Transport
    batch: int
    prompt_tokens: int
    cached_tokens: int
    new_tokens: int
    turn_tokens_per_step: int = TURN_TOKENS_PER_STEP
    purpose: Purpose = "fit"
    kind: ClassVar[str] = "interference"

    @property
    def key(self) -> str:
        """Name of the cell in the raw file."""
        where = f"{self.batch}/{self.prompt_tokens}/{self.cached_tokens}/{self.new_tokens}"
        return f"{self.purpose}/{self.kind}/{arm_name(self.arm, self.transport)}/{where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCell:
    """A multi-turn load of `conversations` that arrive at `rate_per_s`: for validation, never fitted."""

    name: str
    arm: Arm
    transport: Transport
    rate_per_s: float
    conversations: int
    purpose: Purpose = "validation"
    kind: ClassVar[str] = "load"

    @property
    def key(self) -> str:
        """Name of the load in the raw file."""
        return f"{self.purpose}/{self.kind}/{arm_name(self.arm, self.transport)}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferCell:
    """`size_bytes` in `blocks` pieces over the link alone."""

    transport: Transport
    size_bytes: int
    blocks: int
    purpose: Purpose = "fit"
    kind: ClassVar[str] = "transfer"

    @property
    def key(self) -> str:
        """Name of the cell in the raw file."""
        return f"{self.purpose}/{self.kind}/{self.transport.value}/{self.size_bytes}/{self.blocks}"


Cell = PrefillCell | DecodeCell | StallCell | LoadCell | TransferCell
