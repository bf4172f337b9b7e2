"""KV pages of one node: what running turns hold, what is kept for later, and what goes when room is needed.

::

    capacity = free + used (running and admitted turns) + kept (prefixes nobody uses now, evictable) + locked (shared)

Prefixes are identified per conversation here (its latest KV, floored to pages) and per block hash in
:mod:`ppdsim.des.kv_blocks`. A conversation's KV is a chain of parts, one for each time that KV was put into the cache:
a prompt (each of its chunks) and its answer. Evicted are whole parts, the last one of the conversation used least
recently first; to be used is to be looked up, also in vain, or put in. A hit is at most the prompt less one token,
which the engine always computes. Source: SGLang 0.5.17, mem_cache/radix_cache.py evict, _match_prefix_helper,
_insert_helper, cache_finished_req, cache_unfinished_req.

Not modelled: host memory tiers, sharing between conversations without block ids.
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
        """Move `pages` (at most `available`) to the running turns; until `make_free`, fewer than none may be free."""
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
    def touch(self, turn: int) -> None:
        """Take note that the turn's prefix was looked up and the turn did not start."""

    @abc.abstractmethod
    def acquire(self, turn: int, *, reuse: bool) -> int:
        """Take the prompt's pages and return the cached tokens among them; evicts nothing, `make_free` does."""

    @abc.abstractmethod
    def insert(self, turn: int, tokens: int) -> None:
        """Put the first `tokens` of a running turn's KV into the cache, where the turn holds them."""

    @abc.abstractmethod
    def release(self, turn: int, kv_tokens: int, keep_tokens: int) -> None:
        """End a turn that holds `kv_tokens`: keep a prefix of at most `keep_tokens`, free the rest."""

    @abc.abstractmethod
    def withdraw(self, turn: int, kv_tokens: int) -> None:
        """End a turn that holds `kv_tokens` before its time: keep what is in the cache, as old as it is."""

    @abc.abstractmethod
    def restore(self, turn: int, kv_tokens: int, *, keep: bool) -> None:
        """Give a turn that was withdrawn pages for all its KV; `keep`: put the KV into the cache."""

    @abc.abstractmethod
    def preload(self, turn: int, tokens: int) -> None:
        """Put a prefix of the turn in place, if it fits."""

    @abc.abstractmethod
    def _evict_one(self) -> None:
        """Evict the entry used least recently."""

    @abc.abstractmethod
    def _kept_pages(self) -> tuple[int, int]:
        """Return the pages of the evictable entries and of the shared ones in use, counted again."""

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


class _Chain:
    """A conversation's KV in the cache: where its parts end [tokens], and when it was used last."""

    __slots__ = ("ends", "used")

    def __init__(self) -> None:
        self.ends: list[int] = []
        self.used = 0


class ConversationKvPool(AbstractKvPool):
    """Prefixes by conversation: one chain each, kept or held by a running turn."""

    __slots__ = ("_chains", "_held", "_uses")

    def __init__(self, turns: Turns, capacity_tokens: int, page_tokens: int) -> None:
        super().__init__(turns, capacity_tokens, page_tokens)
        self._chains: OrderedDict[int, _Chain] = OrderedDict()  # kept, by conversation, used least recently first
        self._held: dict[int, _Chain] = {}  # by running turn
        self._uses = 0

    def cached_tokens(self, turn: int) -> int:
        """Return how many tokens of the prompt are here [tokens]."""
        chain = self._chains.get(self._turns.conversation[turn])
        if chain is None:
            return 0
        tokens, limit = chain.ends[-1], self._turns.fill[turn] - 1
        return tokens if tokens <= limit else limit // self.page * self.page

    def fits(self, turn: int, reserve_pages: int, *, reuse: bool) -> bool:
        """Return whether the prompt fits beside the reserve."""
        # The own chain counts as available and as needed, so it drops out.
        del reuse
        return -(-self._turns.fill[turn] // self.page) + reserve_pages <= self.free + self.kept

    def room_tokens(self, turn: int) -> int:
        """Return what would be available beside the prompt [tokens]."""
        return self.available * self.page - self._turns.fill[turn]

    def touch(self, turn: int) -> None:
        """Take note that the conversation's chain was looked up."""
        conversation = self._turns.conversation[turn]
        chain = self._chains.get(conversation)
        if chain is not None:
            self._chains.move_to_end(conversation)
            self._uses = chain.used = self._uses + 1

    def acquire(self, turn: int, *, reuse: bool) -> int:
        """Take the prompt's pages and return the cached tokens among them [tokens]."""
        hit = 0
        pages = -(-self._turns.fill[turn] // self.page)
        if reuse:
            hit = self.cached_tokens(turn)
            if hit:
                self._held[turn] = chain = self._chains.pop(self._turns.conversation[turn])
                self._uses = chain.used = self._uses + 1
                own = -(-chain.ends[-1] // self.page)
                self.kept -= own
                self.used += own
                pages -= own
                if hit < chain.ends[-1]:
                    # The prompt ends within the chain; the rest of it goes.
                    chain.ends = [*(end for end in chain.ends if end < hit), hit]
        self.free -= pages
        self.used += pages
        # `_admitted`, without the call: every turn passes here.
        held = self.capacity - self.free - self.kept
        self.admissions += 1
        self.admitted_pages += held
        if held > self.largest_pages:
            self.largest_pages = held
        return hit

    def insert(self, turn: int, tokens: int) -> None:
        """Let the turn's chain reach the last whole page of `tokens`."""
        end = tokens // self.page * self.page
        if end:
            chain = self._held.get(turn)
            if chain is None:
                chain = self._held[turn] = _Chain()
            self._extend(chain, end)

    def release(self, turn: int, kv_tokens: int, keep_tokens: int) -> None:
        """End a turn and keep a prefix of it."""
        page = self.page
        pages = -(-kv_tokens // page)
        self.used -= pages
        self.free += pages
        chain = self._held.pop(turn, None) if self._held else None
        end = keep_tokens // page * page
        if end:
            if chain is None:
                chain = _Chain()
            ends = chain.ends
            # `_extend`, without the call.
            if not ends or end > ends[-1]:
                ends.append(end)
            self._uses = chain.used = self._uses + 1
            self._keep(turn, chain)

    def withdraw(self, turn: int, kv_tokens: int) -> None:
        """End a turn before its time."""
        pages = self.pages(kv_tokens)
        self.used -= pages
        self.free += pages
        chain = self._held.pop(turn, None)
        if chain is not None:
            self._keep(turn, chain)
            # Others may have been used since the turn began.
            self._chains = OrderedDict(sorted(self._chains.items(), key=lambda item: item[1].used))

    def restore(self, turn: int, kv_tokens: int, *, keep: bool) -> None:
        """Take pages for all of the KV; those that the cache has already are given back."""
        self.take(self.pages(kv_tokens))
        self.make_free(0)
        if keep:
            chain = self._chains.pop(self._turns.conversation[turn], None)
            if chain is not None:
                own = self.pages(chain.ends[-1])
                self.kept -= own
                self.free += own
                self._held[turn] = chain
            self.insert(turn, kv_tokens)

    def preload(self, turn: int, tokens: int) -> None:
        """Put a prefix in place, if it fits."""
        pages = self.pages(tokens)
        if not tokens or pages > self.available:
            return
        self.make_free(pages)
        chain = _Chain()
        self._extend(chain, tokens)
        self._keep(turn, chain)

    def _extend(self, chain: _Chain, end: int) -> None:
        """Use a chain, which gets a part more if `end` lies behind it."""
        ends = chain.ends
        if not ends or end > ends[-1]:
            ends.append(end)
        self._uses = chain.used = self._uses + 1

    def _keep(self, turn: int, chain: _Chain) -> None:
        """Keep a chain, whose pages count as free so far; it takes the place of the conversation's old one."""
        conversation = self._turns.conversation[turn]
        old = self._chains.pop(conversation, None)
        pages = -(-chain.ends[-1] // self.page)
        if old is not None:
            pages -= -(-old.ends[-1] // self.page)
        self._chains[conversation] = chain
        self.kept += pages
        self.free -= pages

    def _evict_one(self) -> None:
        conversation = next(iter(self._chains))
        ends, page = self._chains[conversation].ends, self.page
        pages = -(-ends.pop() // page)
        if ends:
            pages -= -(-ends[-1] // page)
        else:
            del self._chains[conversation]
        self._evicted(pages)

    def _kept_pages(self) -> tuple[int, int]:
        return sum(self.pages(chain.ends[-1]) for chain in self._chains.values()), 0
