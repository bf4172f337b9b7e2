"""A cap on the conversations under way: one that comes beyond it waits, first come first served.

A conversation is under way from its first request to the end of its last answer, think time included: a cap counts
conversations, not requests.
"""

from __future__ import annotations

from collections import deque


class ConversationCap:
    """Room for `most` conversations, or without limit; they are named by the row of their first turn."""

    __slots__ = ("_open", "_waiting", "most")

    def __init__(self, most: int | None) -> None:
        self.most = most
        self._open = 0
        self._waiting: deque[int] = deque()

    def admit(self, turn: int) -> bool:
        """Take a conversation in, or let it wait."""
        if self.most is not None and self._open >= self.most:
            self._waiting.append(turn)
            return False
        self._open += 1
        return True

    def release(self) -> int | None:
        """End a conversation, and return the one that takes its place."""
        if self._waiting:
            return self._waiting.popleft()
        self._open -= 1
        return None
