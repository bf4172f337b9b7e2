"""What a machine allows of a plan (KV pools, longest request, requests that run together), and the plan clipped to it.

Every request of a cell has to be taken by every server that it passes, and everything that a cell holds at once has to
fit the pools: what does not would be refused cell after cell, or hang. A cell to fit with too long a prefix is moved to
a half of it, or a quarter and so on, so that a short context leaves a grid all the same; held-out cells, whose place is
their meaning, are left out. A load is not dropped for one long conversation: its conversations end where they would
pass the limit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ppdsim.engines.client import EngineInfo, decoders, decoding, prefilling
from ppdsim.measure.cells import Cell, DecodeCell, LoadCell, PrefillCell, StallCell
from ppdsim.measure.plan import (
    DECODE_OUTPUT_TOKENS,
    PAGE_TOKENS,
    Plan,
    conversations_of,
    stall_output_tokens,
    stall_prefixes,
)

TAIL_TOKENS = 64
"""KV kept free for answers of a few tokens, and for what an engine reserves of its context, in every cell [tokens]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What servers allow.

    `kv_pool_tokens` is the pool of the server that decodes, `prefill_pool_tokens` the one of P where P is another; None
    where it is not known. `context_tokens` is the longest request, prompt and answer [tokens], `max_running_requests`
    how many streams may decode together.
    """

    kv_pool_tokens: int | None
    context_tokens: int
    max_running_requests: int | None = None
    prefill_pool_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A cell that does not fit: what it `needs`, the `limit` that it passes, and the cell in its place, if any."""

    cell: Cell
    needs: str
    limit: str
    instead: PrefillCell | StallCell | None = None

    @property
    def text(self) -> str:
        """The cell and what it needs, or where it is measured instead."""
        if self.instead is None:
            return f"{self.cell.key}: {self.needs}"
        return f"{self.cell.key} at {self.instead.cached_tokens} cached tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipped:
    """A plan's cells on one service: those that fit, moved ones included, those that do not, and loads cut short."""

    kept: tuple[Cell, ...]
    passed: tuple[Passed, ...]
    shortened: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each kind of cell, limit and consequence, with an example, and one a shortened load."""
        groups: dict[tuple[str, str, str], list[Passed]] = defaultdict(list)
        for one in self.passed:
            what = "left out" if one.instead is None else "moved to fewer cached tokens"
            groups[one.cell.kind, what, one.limit].append(one)
        out = [
            f"{len(group)} {kind} cell{'s' * (len(group) > 1)} {what}, {limit} (such as {group[0].text})"
            for (kind, what, limit), group in groups.items()
        ]
        return (*out, *self.shortened)


def limits_of(plan: Plan, servers: Mapping[str, EngineInfo]) -> Limits:
    """Return what servers allow, by role, and the plan's own bound on the context.

    Each request has to fit every server that it may get to, so the smallest decides: pools role by role, the context
    over all. Streams run together where they decode; P holds a request no longer than its prompt and its transfer take,
    and what finds no place there waits.
    """
    together = [info.max_running_requests for info in decoders(servers) if info.max_running_requests is not None]
    contexts = [info.context_tokens for info in servers.values() if info.context_tokens is not None]
    return Limits(
        kv_pool_tokens=decoding(servers).kv_pool_tokens,
        context_tokens=min([plan.longest_context_tokens, *contexts]),
        max_running_requests=min(together, default=None),
        prefill_pool_tokens=min((info.kv_pool_tokens for info in prefilling(servers)), default=None),
    )


def need_tokens(cell: Cell) -> int:
    """Return the KV that a cell needs at once on the server that decodes [tokens]."""
    if isinstance(cell, PrefillCell):
        return cell.context_tokens + TAIL_TOKENS
    if isinstance(cell, DecodeCell):
        return cell.batch * (cell.prompt_tokens + DECODE_OUTPUT_TOKENS)
    if isinstance(cell, StallCell):
        residents = cell.batch * (cell.prompt_tokens + stall_output_tokens(cell))
        # Each injected turn leaves its new tokens in the prefix cache until they are evicted.
        return residents + cell.cached_tokens + cell.new_tokens + TAIL_TOKENS
    return 0


def prefill_need_tokens(cell: Cell, *, decode_radix: bool) -> int:
    """Return the KV that a cell needs on P, whose D has a prefix cache or not [tokens].

    P holds a turn and its prefix. Prompts of residents that pass later push out what is older, so they count as well.
    """
    if isinstance(cell, PrefillCell):
        return cell.context_tokens + TAIL_TOKENS
    if isinstance(cell, StallCell):
        held = stall_prefixes(cell, decode_radix=decode_radix) * cell.cached_tokens + cell.new_tokens
        return cell.batch * cell.prompt_tokens + held + TAIL_TOKENS
    return 0


def longest_request_tokens(cell: Cell) -> int:
    """Return the longest request of a cell, prompt and answer [tokens]; loads end theirs in time."""
    if isinstance(cell, PrefillCell):
        return cell.context_tokens + TAIL_TOKENS
    if isinstance(cell, DecodeCell):
        return cell.prompt_tokens + DECODE_OUTPUT_TOKENS + TAIL_TOKENS
    if isinstance(cell, StallCell):
        resident = cell.prompt_tokens + stall_output_tokens(cell)
        return max(resident, cell.cached_tokens + cell.new_tokens) + TAIL_TOKENS
    return 0


def conversation_tokens(limits: Limits) -> int:
    """Return how long a conversation of a load may get [tokens]: never more than half of the pool is its own."""
    longest = limits.context_tokens - TAIL_TOKENS
    return longest if limits.kv_pool_tokens is None else min(longest, limits.kv_pool_tokens // 2)


def clipped(cells: Sequence[Cell], limits: Limits, plan: Plan, *, decode_radix: bool = False) -> Clipped:
    """Return what of a service's cells fits `limits`; `decode_radix` says that D has a prefix cache."""
    kept: list[Cell] = []
    passed: list[Passed] = []
    shortened: list[str] = []
    taken = {_place(cell) for cell in cells}
    for cell in cells:
        one = _passed(cell, limits, plan, decode_radix=decode_radix)
        if one is not None:
            instead = _shorter(cell, limits, plan, decode_radix=decode_radix)
            if instead is not None and _place(instead) not in taken:
                taken.add(_place(instead))
                kept.append(instead)
                one = replace(one, instead=instead)
            passed.append(one)
            continue
        kept.append(cell)
        if isinstance(cell, LoadCell):
            longest = conversation_tokens(limits)
            fitting, turns = turns_within(plan, cell, longest)
            if fitting < turns:
                shortened.append(
                    f"{cell.key}: {turns - fitting} of {turns} turns left out, conversations end at {longest} tokens"
                )
    return Clipped(kept=tuple(kept), passed=tuple(passed), shortened=tuple(shortened))


def _place(cell: Cell) -> Cell:
    """Return what tells a cell from others whatever it is for: a held-out place is never fitted."""
    return replace(cell, purpose="fit")


def _shorter(cell: Cell, limits: Limits, plan: Plan, *, decode_radix: bool) -> PrefillCell | StallCell | None:
    """Return a cell to fit with the longest prefix that fits, of those that halving gives; None without one."""
    if not isinstance(cell, (PrefillCell, StallCell)) or cell.purpose != "fit":
        return None
    cached = cell.cached_tokens
    while cached >= 2 * PAGE_TOKENS:
        cached = cached // 2 // PAGE_TOKENS * PAGE_TOKENS
        found = replace(cell, cached_tokens=cached)
        if _passed(found, limits, plan, decode_radix=decode_radix) is None:
            return found
    return None


def turns_within(plan: Plan, cell: LoadCell, longest_tokens: int) -> tuple[int, int]:
    """Return how many turns of a load come before its conversations pass `longest_tokens`, and how many it has."""
    fitting = turns = 0
    for conversation in conversations_of(plan, cell):
        context, ended = 0, False
        for turn in conversation.turns:
            context += turn.new_tokens + turn.output_tokens
            ended = ended or context > longest_tokens
            fitting += not ended
            turns += 1
    return fitting, turns


def _passed(cell: Cell, limits: Limits, plan: Plan, *, decode_radix: bool) -> Passed | None:
    """Return the limit that a cell passes, or None if it fits."""

    def left_out(needs: str, limit: str) -> Passed:
        return Passed(cell=cell, needs=needs, limit=limit)

    if isinstance(cell, LoadCell):
        longest = conversation_tokens(limits)
        if turns_within(plan, cell, longest)[0]:
            return None
        return left_out("no turn fits", f"conversations end at {longest} tokens")
    need = need_tokens(cell)
    if limits.kv_pool_tokens is not None and need > limits.kv_pool_tokens:
        return left_out(f"needs {need} tokens of KV", f"the pool has {limits.kv_pool_tokens}")
    need = prefill_need_tokens(cell, decode_radix=decode_radix)
    if limits.prefill_pool_tokens is not None and need > limits.prefill_pool_tokens:
        return left_out(f"needs {need} tokens of KV on P", f"the pool of P has {limits.prefill_pool_tokens}")
    longest = longest_request_tokens(cell)
    if longest > limits.context_tokens:
        return left_out(f"{longest} tokens with its answer", f"the longest is {limits.context_tokens}")
    together = cell.batch + isinstance(cell, StallCell) if isinstance(cell, (DecodeCell, StallCell)) else 1
    if limits.max_running_requests is not None and together > limits.max_running_requests:
        return left_out(f"{together} streams", f"max_running_requests is {limits.max_running_requests}")
    return None
