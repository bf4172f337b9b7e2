"""KV pages where a workload knows prefixes by block: leading runs of ids, shared between turns.

A block is `Turns.block_tokens` tokens of prompt. Only whole blocks of prompts are kept, never answers. Blocks in use
are locked and counted by their users; unlocked ones are evicted least recently used first, tails before heads.
"""

from __future__ import annotations

from collections import OrderedDict

from ppdsim.des.kv_cache import AbstractKvPool, ConversationKvPool
from ppdsim.des.turns import Turns
from ppdsim.errors import ScenarioError


class BlockKvPool(AbstractKvPool):
    """Prefixes by block of a trace; only whole blocks of prompts are kept, never answers."""

    __slots__ = ("_block_pages", "_block_tokens", "_held", "_inserted", "_locked", "_unlocked", "prefix_pages")

    def __init__(self, turns: Turns, capacity_tokens: int, page_tokens: int) -> None:
        super().__init__(turns, capacity_tokens, page_tokens)
        self._block_tokens = turns.block_tokens
        if self._block_tokens % page_tokens:
            raise ScenarioError(f"page_size {page_tokens} does not divide the trace's blocks of {self._block_tokens}")
        self._block_pages = self.prefix_pages = self._block_tokens // page_tokens
        self._unlocked: OrderedDict[int, None] = OrderedDict()
        self._locked: dict[int, int] = {}  # block: turns that use it
        self._held: dict[int, int] = {}  # turn: blocks it has locked
        self._inserted: dict[int, int] = {}  # running turn: tokens of it that a cache would have

    def _ids(self, turn: int) -> tuple[int, ...]:
        blocks = self._turns.blocks
        return blocks[turn] if blocks is not None else ()

    def _match(self, turn: int) -> int:
        unlocked, locked, count = self._unlocked, self._locked, 0
        for block in self._ids(turn):
            if block not in unlocked and block not in locked:
                break
            count += 1
        # Whole blocks below the last prompt token, which is always computed.
        return min(count, (self._turns.fill[turn] - 1) // self._block_tokens)

    def cached_tokens(self, turn: int) -> int:
        """Return how many tokens of the prompt are here [tokens]."""
        return self._match(turn) * self._block_tokens

    def fits(self, turn: int, reserve_pages: int, *, reuse: bool) -> bool:
        """Return whether the prompt fits beside the reserve."""
        matched = self._match(turn) if reuse else 0
        own = sum(block in self._unlocked for block in self._ids(turn)[:matched])
        need = self.pages(self._turns.fill[turn]) - matched * self._block_pages
        return need + reserve_pages <= self.available - own * self._block_pages

    def room_tokens(self, turn: int) -> int:
        """Return what would be available beside the prompt [tokens]."""
        matched = self._match(turn)
        own = sum(block in self._unlocked for block in self._ids(turn)[:matched])
        available = self.available - own * self._block_pages
        return available * self.page - (self._turns.fill[turn] - matched * self._block_tokens)

    def touch(self, turn: int) -> None:
        """Take note that the blocks were looked up."""
        for block in reversed(self._ids(turn)[: self._match(turn)]):
            if block in self._unlocked:
                self._unlocked.move_to_end(block)

    def acquire(self, turn: int, *, reuse: bool) -> int:
        """Take the prompt's pages and return the cached tokens among them [tokens]."""
        matched = self._match(turn) if reuse else 0
        for block in self._ids(turn)[:matched]:
            if block in self._unlocked:
                del self._unlocked[block]
                self.kept -= self._block_pages
            self._locked[block] = self._locked.get(block, 0) + 1
        self._held[turn] = matched
        self.take(self.pages(self._turns.fill[turn]) - matched * self._block_pages)
        self._admitted()
        return matched * self._block_tokens

    def insert(self, turn: int, tokens: int) -> None:
        """Take note of what is kept if the turn is withdrawn; until then it holds its pages alone."""
        self._inserted[turn] = tokens

    def withdraw(self, turn: int, kv_tokens: int) -> None:
        """End a turn before its time."""
        self.release(turn, kv_tokens, self._inserted.get(turn, 0))

    def restore(self, turn: int, kv_tokens: int, *, keep: bool) -> None:
        """Take pages for all of the KV; the turn shares none of them."""
        self.take(self.pages(kv_tokens))
        self.make_free(0)
        if keep:
            self.insert(turn, kv_tokens)

    def release(self, turn: int, kv_tokens: int, keep_tokens: int) -> None:
        """End a turn and keep a prefix of it."""
        self._inserted.pop(turn, None)
        self._drop(turn, kv_tokens)
        # Deepest first, so that tails are evicted before heads.
        full = min(keep_tokens, self._turns.prompt[turn]) // self._block_tokens
        for block in reversed(self._ids(turn)[:full]):
            if block in self._unlocked:
                self._unlocked.move_to_end(block)
            elif block not in self._locked:
                # Its pages were the turn's own a moment ago, so they are free now.
                self._unlocked[block] = None
                self.free -= self._block_pages
                self.kept += self._block_pages

    def _drop(self, turn: int, kv_tokens: int) -> None:
        private = self.pages(kv_tokens) - self.shared_pages(turn)
        self.used -= private
        self.free += private
        for block in reversed(self._ids(turn)[: self._held.pop(turn, 0)]):
            self._locked[block] -= 1
            if not self._locked[block]:
                del self._locked[block]
                self._unlocked[block] = None
                self.kept += self._block_pages

    def shared_pages(self, turn: int) -> int:
        """Return the pages of a running turn that it shares."""
        return self._held.get(turn, 0) * self._block_pages

    def preload(self, turn: int, tokens: int) -> None:
        """Put a prefix in place, if it fits."""
        raise ScenarioError("a preloaded prefix cannot be combined with a workload whose prefixes are blocks")

    def _evict_one(self) -> None:
        self._unlocked.popitem(last=False)
        self._evicted(self._block_pages)

    def _kept_pages(self) -> tuple[int, int]:
        return len(self._unlocked) * self._block_pages, len(self._locked) * self._block_pages


def make_pool(turns: Turns, capacity_tokens: int, page_tokens: int) -> AbstractKvPool:
    """Return a pool that knows prefixes the way the workload does."""
    final = ConversationKvPool if turns.blocks is None else BlockKvPool
    return final(turns, capacity_tokens, page_tokens)
