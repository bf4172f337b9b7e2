"""KV pages of one node: what running turns hold, what is kept for later, and what goes when room is needed.

::

    capacity = free + used (running and admitted turns) + kept (prefixes nobody uses now, evictable) + locked (shared)

Prefixes are identified per conversation here (its latest KV, floored to pages) and per block hash in
:mod:`ppdsim.des.kv_blocks`. Whole entries are evicted, least recently used first. A hit is at most the prompt less
one token, which the engine always computes. Not modelled: host memory tiers, sharing between conversations
without block ids, eviction of a part of an entry.
"""

from __future__ import annotations

import abc
from collections import OrderedDict

from ppdsim.des.turns import Turns


class AbstractKvPool(abc.ABC):
    """Page accounting; a final subclass knows the prefixes.

    Beside the books it counts what a run did: `admissions`, and what running turns held just after each (summed in
    `admitted_pages`), the most they ever held (`largest_pages`), and what was evicted (`evictions`, `evicted_pages`).
    """

    __slots__ = (
        "_turns", "admissions", "admitted_pages", "capacity", "evicted_pages", "evictions", "free", "kept",
        "largest_pages", "page", "used",
    )  # fmt: skip

    prefix_pages = 1
    """Pages of the units in which prefixes are kept."""

    def __init__(self, turns: Turns, capacity_tokens: int, page_tokens: int) -> None:
        self._turns = turns
        self.page = page_tokens
        self.capacity = self.free = capacity_tokens // page_tokens
        self.used = 0
        self.kept = 0
        self.admissions = self.admitted_pages = self.largest_pages = self.evictions = self.evicted_pages = 0

    def pages(self, tokens: int) -> int:
        """Return the pages that `tokens` take."""
        return -(-tokens // self.page)

    @property
    def available(self) -> int:
        """Pages that are free or can be made free."""
        return self.free + self.kept

    def take(self, pages: int) -> None:
        """Move `pages` (at most `available`) to the running turns, evicting what was used least recently."""
        while self.free < pages:
            self._evict_one()
        self.free -= pages
        self.used += pages
        held = self.capacity - self.free - self.kept
        if held > self.largest_pages:
            self.largest_pages = held

    def make_free(self, pages: int) -> None:
        """Evict until `pages` are free, or nothing is kept."""
        while self.free < pages and self.kept:
            self._evict_one()

    def shared_pages(self, turn: int) -> int:
        """Return the pages of a running turn's KV that it holds together with others."""
        del turn
        return 0

    def _admitted(self) -> None:
        """Count a turn that has just been admitted, and what running turns hold now."""
        held = self.capacity - self.free - self.kept
        self.admissions += 1
        self.admitted_pages += held
        if held > self.largest_pages:
            self.largest_pages = held

    def _evicted(self, pages: int) -> None:
        """Book an eviction."""
        self.kept -= pages
        self.free += pages
        self.evictions += 1
        self.evicted_pages += pages

    @abc.abstractmethod
    def cached_tokens(self, turn: int) -> int:
        """Return how many tokens of the turn's prompt are here [tokens]; changes nothing."""

    @abc.abstractmethod
    def fits(self, turn: int, reserve_pages: int, *, reuse: bool) -> bool:
        """Return whether the whole prompt fits and leaves `reserve_pages`; `reuse`: on top of the cached prefix."""

    @abc.abstractmethod
    def room_tokens(self, turn: int) -> int:
        """Return what would be available beside the whole prompt; may be negative [tokens]."""

    @abc.abstractmethod
    def acquire(self, turn: int, *, reuse: bool) -> int:
        """Take the prompt's pages and return the cached tokens among them; the caller has asked `fits`."""

    @abc.abstractmethod
    def release(self, turn: int, kv_tokens: int, keep_tokens: int) -> None:
        """End a turn that holds `kv_tokens`: keep a prefix of at most `keep_tokens`, free the rest."""

    @abc.abstractmethod
    def drop(self, turn: int, kv_tokens: int) -> None:
        """Free all that a running turn of `kv_tokens` holds; it may come back with `take`."""

    @abc.abstractmethod
    def preload(self, turn: int, tokens: int) -> None:
        """Put a prefix of the turn in place, if it fits."""

    @abc.abstractmethod
    def _evict_one(self) -> None:
        """Evict the entry used least recently."""

    @abc.abstractmethod
    def _kept_pages(self) -> tuple[int, int]:
        """Return the pages of the evictable entries and of the shared ones in use, counted anew."""

    def check_integrity(self, running_pages: int) -> None:
        """Check that no page is lost or held twice; `running_pages` is what the node's turns should hold.

        Raises
        ------
        RuntimeError
            If the books do not balance: a defect of the simulator.
        """
        kept, locked = self._kept_pages()
        books = {
            "free": (self.free >= 0, self.free),
            "kept": (self.kept == kept, self.kept, kept),
            "used": (self.used == running_pages, self.used, running_pages),
            "capacity": (self.free + self.used + kept + locked == self.capacity, self.capacity),
        }
        wrong = {name: values for name, values in books.items() if not values[0]}
        if wrong:
            raise RuntimeError(f"KV pages do not balance: {wrong}; free {self.free}, locked {locked}")


class ConversationKvPool(AbstractKvPool):
    """Prefixes by conversation: one entry each, (tokens, pages)."""

    __slots__ = ("_entries",)

    def __init__(self, turns: Turns, capacity_tokens: int, page_tokens: int) -> None:
        super().__init__(turns, capacity_tokens, page_tokens)
        self._entries: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def cached_tokens(self, turn: int) -> int:
        """Return how many tokens of the prompt are here [tokens]."""
        entry = self._entries.get(self._turns.conversation[turn])
        if entry is None:
            return 0
        tokens, limit = entry[0], self._turns.fill[turn] - 1
        return tokens if tokens <= limit else limit // self.page * self.page

    def fits(self, turn: int, reserve_pages: int, *, reuse: bool) -> bool:
        """Return whether the prompt fits beside the reserve."""
        # The own entry counts as available and as needed, so it drops out.
        del reuse
        return -(-self._turns.fill[turn] // self.page) + reserve_pages <= self.free + self.kept

    def room_tokens(self, turn: int) -> int:
        """Return what would be available beside the prompt [tokens]."""
        return self.available * self.page - self._turns.fill[turn]

    def acquire(self, turn: int, *, reuse: bool) -> int:
        """Take the prompt's pages and return the cached tokens among them [tokens]."""
        hit = 0
        pages = -(-self._turns.fill[turn] // self.page)
        if reuse:
            hit = self.cached_tokens(turn)
            if hit:
                _, own = self._entries.pop(self._turns.conversation[turn])
                self.kept -= own
                self.used += own
                pages -= own
        if pages > self.free:
            self.take(pages)
        else:
            self.free -= pages
            self.used += pages
        # `_admitted`, without the call: every turn passes here.
        held = self.capacity - self.free - self.kept
        self.admissions += 1
        self.admitted_pages += held
        if held > self.largest_pages:
            self.largest_pages = held
        return hit

    def release(self, turn: int, kv_tokens: int, keep_tokens: int) -> None:
        """End a turn and keep a prefix of it."""
        page = self.page
        pages = -(-kv_tokens // page)
        self.used -= pages
        kept = keep_tokens // page
        if kept:
            conversation = self._turns.conversation[turn]
            old = self._entries.pop(conversation, None)
            if old is not None:
                self.kept -= old[1]
                self.free += old[1]
            self._entries[conversation] = (kept * page, kept)
            self.kept += kept
        self.free += pages - kept

    def drop(self, turn: int, kv_tokens: int) -> None:
        """Free all that a running turn holds."""
        del turn
        pages = self.pages(kv_tokens)
        self.used -= pages
        self.free += pages

    def preload(self, turn: int, tokens: int) -> None:
        """Put a prefix in place, if it fits."""
        pages = self.pages(tokens)
        if not tokens or pages > self.available:
            return
        self.make_free(pages)
        self.free -= pages
        self.kept += pages
        self._entries[self._turns.conversation[turn]] = (tokens, pages)

    def _evict_one(self) -> None:
        _, (_, pages) = self._entries.popitem(last=False)
        self._evicted(pages)

    def _kept_pages(self) -> tuple[int, int]:
        return sum(pages for _, pages in self._entries.values()), 0
