"""Prompts as random token ids: what they say does not change what a dense model costs, that they differ does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LOWEST_ID = 1_000
HIGHEST_ID = 30_000
"""Range of the ids; inside every vocabulary of the models covered, above the special tokens at its start."""


class Prompts:
    """Fresh token ids."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def fresh(self, tokens: int) -> list[int]:
        """Return ids that no server has seen."""
        found: list[int] = self._rng.integers(LOWEST_ID, HIGHEST_ID, tokens).tolist()
        return found

    def turn(self, prefix: Sequence[int], new_tokens: int) -> list[int]:
        """Return a prompt that shares exactly `prefix` with whatever was sent before."""
        return [*prefix, *self.fresh(new_tokens)]
