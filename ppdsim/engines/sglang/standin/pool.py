"""KV pages and the prefix cache: a radix tree whose edges are whole pages of token ids.

::

    capacity = free + private (pages of running requests) + pages in the tree (locked by a request, or evictable)

A prompt matches as many whole pages as are in the tree, and at most its length less one token, which an engine always
computes. Pages of a finished request join the tree; where the tree has them already, the request's own are freed. When
room is needed, leaves go, least recently used first. Source: SGLang 0.5.17 mem_cache/radix_cache.py, which evicts whole
edges where this evicts pages.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(slots=True, eq=False)
class Node:
    """One page of a prefix, the `number`-th made. `locks` counts the running requests that use it."""

    parent: Node | None
    key: bytes
    number: int = 0
    children: dict[bytes, Node] = field(default_factory=dict)
    locks: int = 0
    used: int = 0


@dataclass(slots=True, eq=False)
class Holding:
    """What one request holds: `shared` pages of the tree down to `node`, and `private` pages of its own."""

    node: Node
    shared: int
    private: int


class KvPool:
    """The pages of one server."""

    def __init__(self, capacity_tokens: int, page_tokens: int, *, keeps_prefixes: bool = True) -> None:
        self.page_tokens = page_tokens
        self.capacity = capacity_tokens // page_tokens
        self.keeps_prefixes = keeps_prefixes
        self.private = 0
        self._root = Node(None, b"")
        self._cached = 0
        self._locked = 0
        self._clock = 0
        self._made = 0

    @property
    def available(self) -> int:
        """Pages that are free or can be evicted."""
        return self.capacity - self.private - self._locked

    @property
    def used_tokens(self) -> int:
        """KV that running requests hold [tokens]."""
        return (self.private + self._locked) * self.page_tokens

    def pages(self, tokens: int) -> int:
        """Return the pages that `tokens` take."""
        return -(-tokens // self.page_tokens)

    def cached_tokens(self, ids: Sequence[int]) -> int:
        """Return how many tokens of a prompt a request would find [tokens]; changes nothing."""
        return len(self._path(self._keys(ids[: len(ids) - 1]))) * self.page_tokens

    def lock(self, ids: Sequence[int]) -> Holding:
        """Lock the cached prefix of a prompt and return it; its other pages are still to be taken."""
        path = self._path(self._keys(ids[: len(ids) - 1]))
        for node in path:
            self._hold(node)
        return Holding(path[-1] if path else self._root, len(path), 0)

    def take(self, holding: Holding, pages: int) -> None:
        """Give a request `pages` more, evicting what was used least recently; the caller has asked `available`."""
        self._evict(self.private + self._cached + pages - self.capacity)
        self.private += pages
        holding.private += pages

    def make_free(self, pages: int) -> None:
        """Evict what is cached and not locked until `pages` are free, as far as that goes."""
        self._evict(min(self.private + self._cached + pages - self.capacity, self._cached - self._locked))

    def cache(self, holding: Holding, ids: Sequence[int]) -> None:
        """Put the whole pages of a request's KV into the tree; the request keeps them locked."""
        if not self.keeps_prefixes:
            return
        keys = self._keys(ids)
        node = holding.node
        for key in keys[holding.shared :]:
            child = node.children.get(key)
            if child is None:
                self._made += 1
                child = node.children[key] = Node(node, key, self._made)
                self._cached += 1
            # New in the tree or there already: either way it is no longer the request's own.
            holding.private -= 1
            self.private -= 1
            self._hold(child)
            node = child
        holding.shared = max(holding.shared, len(keys))
        holding.node = node

    def release(self, holding: Holding) -> None:
        """Free a request's own pages and unlock the shared ones."""
        self.private -= holding.private
        node: Node | None = holding.node
        while node is not None and node.parent is not None:
            node.locks -= 1
            self._locked -= node.locks == 0
            node = node.parent
        holding.private, holding.shared, holding.node = 0, 0, self._root

    def flush(self) -> None:
        """Forget every prefix; the caller has seen that nothing runs."""
        self._root = Node(None, b"")
        self._cached = self._locked = 0

    def shrink(self, capacity_tokens: int) -> None:
        """Make the pool smaller; what runs keeps its pages."""
        self.capacity = capacity_tokens // self.page_tokens
        too_many = self.private + self._cached - self.capacity
        self._evict(min(too_many, self._cached - self._locked))

    def check_integrity(self, holdings: Sequence[Holding]) -> None:
        """Check that no page is lost or held twice.

        Raises
        ------
        RuntimeError
            If the books do not balance: a defect of the stand-in.
        """
        nodes = self._nodes()
        books = {
            "private": (self.private, sum(holding.private for holding in holdings)),
            "cached": (self._cached, len(nodes)),
            "locked": (self._locked, sum(node.locks > 0 for node in nodes)),
            "locks": (sum(node.locks for node in nodes), sum(holding.shared for holding in holdings)),
        }
        wrong = {name: pair for name, pair in books.items() if pair[0] != pair[1]}
        beyond = self.private + self._cached > max(self.capacity, self.private + self._locked)
        if wrong or beyond:
            raise RuntimeError(f"KV pages do not balance: {wrong}, capacity {self.capacity}")

    def _keys(self, ids: Sequence[int]) -> list[bytes]:
        count = len(ids) // self.page_tokens if self.keeps_prefixes else 0
        if not count:
            return []
        raw = np.asarray(ids[: count * self.page_tokens], dtype=np.int64).tobytes()
        size = 8 * self.page_tokens
        return [raw[start : start + size] for start in range(0, len(raw), size)]

    def _path(self, keys: list[bytes]) -> list[Node]:
        self._clock += 1
        node, path = self._root, []
        for key in keys:
            child = node.children.get(key)
            if child is None:
                break
            child.used = self._clock
            path.append(child)
            node = child
        return path

    def _hold(self, node: Node) -> None:
        self._locked += node.locks == 0
        node.locks += 1
        node.used = self._clock

    def _nodes(self) -> list[Node]:
        found, stack = [], list(self._root.children.values())
        while stack:
            node = stack.pop()
            found.append(node)
            stack.extend(node.children.values())
        return found

    def _evict(self, pages: int) -> None:
        if pages <= 0:
            return
        leaves = [(node.used, node.number, node) for node in self._nodes() if not node.children and not node.locks]
        heapq.heapify(leaves)
        for _ in range(pages):
            if not leaves:
                raise RuntimeError("the KV pool was asked for more pages than are available")
            _, _, node = heapq.heappop(leaves)
            parent = node.parent
            if parent is None:
                raise RuntimeError("the root of the prefix cache cannot be evicted")
            del parent.children[node.key]
            self._cached -= 1
            if parent.parent is not None and not parent.children and not parent.locks:
                heapq.heappush(leaves, (parent.used, parent.number, parent))
