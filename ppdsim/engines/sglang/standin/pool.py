"""KV pages and the prefix cache: a radix tree whose edges are runs of whole pages of token ids.

::

    capacity = free + private (pages of running requests) + pages in the tree (locked by a request, or evictable)

A prompt matches as many whole pages as are in the tree, and at most its length less one token, which an engine always
computes; an edge that it matches in part is split. Pages of a request join the tree as one edge, beyond what the tree
has of them; where it has them already, the request's own are freed. When room is needed, whole leaves go, least
recently used first; a look-up uses all that it finds. Source: SGLang 0.5.17 mem_cache/radix_cache.py.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(slots=True, eq=False)
class Node:
    """An edge of the tree, of whole pages, the `number`-th made. `locks` counts the running requests that use it."""

    parent: Node | None
    pages: list[bytes]
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
        self._root = Node(None, [])
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
        keys = self._keys(ids[: len(ids) - 1])
        node, found = self._root, 0
        while found < len(keys) and keys[found] in node.children:
            node = node.children[keys[found]]
            same = self._same(node, keys[found:])
            found += same
            if same < len(node.pages):
                break
        return found * self.page_tokens

    def lock(self, ids: Sequence[int]) -> Holding:
        """Lock the cached prefix of a prompt and return it; its other pages are still to be taken."""
        node, found = self._walk(self._keys(ids[: len(ids) - 1]))
        self._hold(node)
        return Holding(node, found, 0)

    def take(self, holding: Holding, pages: int) -> None:
        """Give a request `pages` more, for which `make_free` makes room before or after; `available` has been asked."""
        self.private += pages
        holding.private += pages

    def make_free(self, pages: int) -> None:
        """Evict what is cached and not locked until `pages` are free, as far as that goes."""
        self._evict(min(self.private + self._cached + pages - self.capacity, self._cached - self._locked))
        if self.private + self._cached > self.capacity:
            raise RuntimeError("the KV pool was asked for more pages than are available")

    def cache(self, holding: Holding, ids: Sequence[int]) -> None:
        """Put the whole pages of a request's KV into the tree; the request keeps them locked."""
        if not self.keeps_prefixes:
            return
        keys = self._keys(ids)
        node, found = self._walk(keys)
        if found < len(keys):
            self._made += 1
            child = Node(node, keys[found:], self._made, used=self._clock)
            node.children[keys[found]] = child
            self._cached += len(child.pages)
            node = child
        self._hold(node)
        self._let_go(holding.node)
        # New in the tree or there already: either way they are no longer the request's own.
        self.private -= len(keys) - holding.shared
        holding.private -= len(keys) - holding.shared
        holding.shared, holding.node = len(keys), node

    def release(self, holding: Holding) -> None:
        """Free a request's own pages and unlock the shared ones."""
        self.private -= holding.private
        self._let_go(holding.node)
        holding.private, holding.shared, holding.node = 0, 0, self._root

    def flush(self) -> None:
        """Forget every prefix; the caller has seen that nothing runs."""
        self._root = Node(None, [])
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
            "cached": (self._cached, sum(len(node.pages) for node in nodes)),
            "locked": (self._locked, sum(len(node.pages) for node in nodes if node.locks)),
            "locks": (sum(node.locks * len(node.pages) for node in nodes), sum(item.shared for item in holdings)),
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

    @staticmethod
    def _same(node: Node, keys: list[bytes]) -> int:
        """Return how many pages of an edge the keys begin with."""
        same = 0
        for page, key in zip(node.pages, keys, strict=False):
            if page != key:
                break
            same += 1
        return same

    def _walk(self, keys: list[bytes]) -> tuple[Node, int]:
        """Use what is found of the keys; return its last node, split if it is found in part, and its pages."""
        self._clock += 1
        node, found = self._root, 0
        while found < len(keys) and keys[found] in node.children:
            child = node.children[keys[found]]
            same = self._same(child, keys[found:])
            child.used = self._clock
            node = child if same == len(child.pages) else self._split(child, same)
            found += same
        return node, found

    def _split(self, node: Node, pages: int) -> Node:
        """Return a new parent of `node`, which takes its first pages."""
        self._made += 1
        head = Node(node.parent, node.pages[:pages], self._made, {}, node.locks, node.used)
        if head.parent is not None:
            head.parent.children[head.pages[0]] = head
        node.parent, node.pages = head, node.pages[pages:]
        head.children[node.pages[0]] = node
        return head

    def _hold(self, node: Node | None) -> None:
        while node is not None:
            self._locked += 0 if node.locks else len(node.pages)
            node.locks += 1
            node = node.parent

    def _let_go(self, node: Node | None) -> None:
        while node is not None:
            node.locks -= 1
            self._locked -= 0 if node.locks else len(node.pages)
            node = node.parent

    def _nodes(self) -> list[Node]:
        found, stack = [], list(self._root.children.values())
        while stack:
            node = stack.pop()
            found.append(node)
            stack.extend(node.children.values())
        return found

    def _evict(self, pages: int) -> None:
        """Evict leaves until `pages` pages have gone."""
        if pages <= 0:
            return
        leaves = [(node.used, node.number, node) for node in self._nodes() if not node.children and not node.locks]
        heapq.heapify(leaves)
        gone = 0
        while gone < pages:
            _, _, node = heapq.heappop(leaves)
            parent = node.parent
            if parent is None:
                raise RuntimeError("the root of the prefix cache cannot be evicted")
            del parent.children[node.pages[0]]
            gone += len(node.pages)
            if parent.parent is not None and not parent.children and not parent.locks:
                heapq.heappush(leaves, (parent.used, parent.number, parent))
        self._cached -= gone
