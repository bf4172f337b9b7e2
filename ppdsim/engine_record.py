"""What a profile records of the engine that it was measured on: the rules that its costs depend on.

A cost curve is a staircase at the sizes that the engine has captured, the simulator forms steps by the engine's rule,
and a hand-off is pushed or pulled. None of that can be read off a time, and none of it is the same in two engines, so
it stands in the profile beside the curves.

Not modelled: rules that only one engine has; they live in that engine's folder (:mod:`ppdsim.engines`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import ClassVar


class ChunkRule(Enum):
    """How prompts are cut and brought together with streams that decode."""

    SEPARATE_FORWARDS = "separate forwards"
    """A prefill forward of its own, in which no stream gets a token; its budget is for new tokens alone."""
    MIXED_STEPS = "mixed steps"
    """One budget a step: first a token of every stream, then parts of prompts."""


class HandoffProtocol(Enum):
    """Who moves a turn's KV from P to D, and when."""

    PUSH = "push after pre-allocation"
    """D sets pages aside first, then P computes and writes into them."""
    PULL = "pull after prefill"
    """P computes and answers first, then D reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """One release of an engine as it ran.

    Attributes
    ----------
    name, version : str
        Such as ``sglang`` and ``0.5.17``.
    decode_graph_sizes : tuple of int
        Captured decode batches, ascending [streams].
    prefill_graph_sizes_tokens : tuple of int
        Captured prefill forwards, ascending [tokens].
    attention_tile_rows : int
        Rows of query, one a token and head, that a multiprocessor attends for at a time [1].
    chunk_rule : ChunkRule
        How steps are formed by default.
    overlap_schedule : bool
        Whether the host launches a step while the one before it runs.
    handoff_protocol : HandoffProtocol
        How KV gets to D.
    transfer_tasks_per_layer : int
        Tasks that P makes of a layer's KV over NVLink and waits for one by one; 0: all in one batch.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str
    version: str
    decode_graph_sizes: tuple[int, ...]
    prefill_graph_sizes_tokens: tuple[int, ...]
    attention_tile_rows: int
    chunk_rule: ChunkRule
    overlap_schedule: bool
    handoff_protocol: HandoffProtocol
    transfer_tasks_per_layer: int

    @property
    def mixes_steps(self) -> bool:
        """Return whether a step carries streams that decode and parts of prompts together."""
        return self.chunk_rule is ChunkRule.MIXED_STEPS

    def with_rules_of(self, other: EngineRecord) -> EngineRecord:
        """Return this record with another release's rules; the captured sizes stay, which the costs are a staircase of.

        >>> from ppdsim.engines import ENGINES
        >>> record = ENGINES["sglang"].record
        >>> record("0.5.17").with_rules_of(record("0.5.14")).title
        'sglang 0.5.17'
        """
        return replace(
            self,
            chunk_rule=other.chunk_rule,
            overlap_schedule=other.overlap_schedule,
            handoff_protocol=other.handoff_protocol,
        )

    @property
    def title(self) -> str:
        """Return name and version, as they are shown.

        >>> from ppdsim.engines import ENGINES
        >>> ENGINES["sglang"].record("0.5.17").title
        'sglang 0.5.17'
        """
        return f"{self.name} {self.version}"
