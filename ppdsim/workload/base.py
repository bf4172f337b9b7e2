"""What a workload is: conversations, each a list of turns, in order of arrival.

A conversation arrives at ``arrival_s`` and sends its first turn. Each later turn is sent ``think_s`` after the last
token of the answer before it, so only the simulator knows when that is. A turn says how many tokens its user adds
(``new_tokens``) and how many the model answers with (``output_tokens``, which no routing policy may read).

Where a trace knows prefixes by block (Mooncake), a turn carries ``block_ids``: the hashes of its prompt's blocks of
``BLOCK_TOKENS`` tokens, the last one possibly partial. Two prompts share a prefix up to the last block of the longest
common leading run of ids. Such a turn's ``new_tokens`` is its whole prompt; residency is decided by block.

This module does not know where KV lives: which tokens are cached is a matter of the machine, not of the workload.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BLOCK_TOKENS = 512
"""Tokens in one hashed prefix block of a Mooncake trace [tokens]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSpec:
    """One turn as the user makes it.

    Attributes
    ----------
    new_tokens : int
        Tokens that this turn adds to the conversation, at least 1 [tokens].
    output_tokens : int
        Tokens of the answer, at least 1 [tokens].
    think_s : float
        Time from the previous answer's last token to this turn; 0 on the first turn [s].
    block_ids : tuple of int or None
        Hashes of the prompt's blocks, where the trace has them.
    clipped_tokens : int
        Tokens that the trace's prompt had beyond the model's context length [tokens].
    """

    new_tokens: int
    output_tokens: int
    think_s: float = 0.0
    block_ids: tuple[int, ...] | None = None
    clipped_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Turns that share a prefix; the first is sent at ``arrival_s`` [s]."""

    conversation_id: int | str
    arrival_s: float
    turns: tuple[TurnSpec, ...]


class AbstractWorkload(ABC):
    """A source of conversations."""

    __slots__ = ()

    @abstractmethod
    def conversations(self, rng: np.random.Generator) -> Iterator[Conversation]:
        """Yield conversations in order of ``arrival_s``; equal generators give equal conversations.

        Raises
        ------
        WorkloadError
            If the file behind the workload is malformed or empty; nothing has been yielded by then.
        """
