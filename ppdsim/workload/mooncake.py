"""Mooncake traces: JSONL, one request a line, prefixes by block.

``timestamp`` [ms], ``input_length`` and ``output_length`` [tokens], ``hash_ids``: one id for each block of
``block_tokens`` (512) prompt tokens, the last one possibly partial. Equal ids mean an equal prefix up to and including
that block. Time 0 is the first request.

A request that goes on with an earlier one's prompt is a turn of its conversation (:mod:`ppdsim.workload.chains`), sent
when the file says. Where the file was stamped by a coarse clock its arrivals are spread within the clock's ticks
(:mod:`ppdsim.workload.arrival_grid`); otherwise they stay as written. Both are noted, as is a file whose timestamps
look like seconds.

Not modelled: a client that waits for an answer before it sends the next turn.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ppdsim.errors import WorkloadError, nearest
from ppdsim.printable import shortened
from ppdsim.units import MS_PER_S
from ppdsim.workload.arrival_grid import Floats, spacing_s, spread_s
from ppdsim.workload.base import BLOCK_TOKENS, Conversation, Conversations, TurnSpec
from ppdsim.workload.blocks import SMALLEST_BLOCK_TOKENS, Blocks, merged
from ppdsim.workload.chains import first_prompts
from ppdsim.workload.tracefile import (
    MAX_S,
    AbstractTrace,
    Unanswered,
    json_object,
    names_of,
    numbered_lines,
    required,
    time_in,
    tokens,
)

KEYS = ("timestamp", "input_length", "output_length", "hash_ids")
SESSION_KEYS = ("session_id", "conversation_id", "chat_id", "parent_chat_id", "turn", "delay")
"""Keys with which other tools put requests into sessions: without them the requests would be others."""
UNITS_PER_S = {"ms": MS_PER_S, "s": 1.0}
MAX_ID = 2**63 - 1
MAX_STAMP = 1e16
"""Largest timestamp that is believed, in its unit: the clock may count from 1970, in microseconds too."""
ABSURD_PER_S = 1_000.0
"""Rate from which timestamps are taken for seconds that were read as ms: hundreds of times that of the published traces
(3 to 4 requests a second) [1/s]."""
FEW_REQUESTS = 10
"""Fewest requests that have a rate to judge by."""


class _Request(NamedTuple):
    stamp: float
    input_tokens: int
    output_tokens: int
    ids: array[int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Requests:
    """Numbers by column, one of each a request: as objects they would take five times the room of their text.

    Attributes
    ----------
    number : array of int
        Position in the file, from 0.
    ids_end : array of int
        Where a request's ids end in `ids`; they begin where those of the one before end.
    """

    number: array[int] = field(default_factory=lambda: array("q"))
    stamp: array[float] = field(default_factory=lambda: array("d"))
    input_tokens: array[int] = field(default_factory=lambda: array("q"))
    output_tokens: array[int] = field(default_factory=lambda: array("q"))
    ids: array[int] = field(default_factory=lambda: array("q"))
    ids_end: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.number)

    def append(self, number: int, request: _Request) -> None:
        self.number.append(number)
        self.stamp.append(request.stamp)
        self.input_tokens.append(request.input_tokens)
        self.output_tokens.append(request.output_tokens)
        self.ids.extend(request.ids or ())
        self.ids_end.append(len(self.ids))

    def ids_of(self, place: int) -> array[int]:
        return self.ids[self.ids_end[place - 1] if place else 0 : self.ids_end[place]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MooncakeTrace(AbstractTrace):
    """Conversations of a Mooncake file; ``limit`` counts requests.

    Attributes
    ----------
    timestamp_unit : str
        ``ms`` or ``s``.
    spread_arrivals : bool or None
        Spread arrivals within the ticks of the clock that stamped them; None: where the file is of that kind.
    block_tokens : int
        Tokens that one id stands for [tokens].
    """

    timestamp_unit: str = "ms"
    spread_arrivals: bool | None = None
    block_tokens: int = BLOCK_TOKENS

    @staticmethod
    def recognises(first_line: str) -> bool:
        """Tell a Mooncake line by ``hash_ids`` or ``input_length``."""
        return not names_of(first_line).isdisjoint(("hash_ids", "input_length"))

    def conversations(self, rng: np.random.Generator) -> Conversations:
        """Read the file; a conversation's id is the position of its first request in the file, from 0."""
        requests, notes = self._read()
        stamps = np.array(requests.stamp)
        times_s = (stamps - stamps.min()) / UNITS_PER_S[self.timestamp_unit]
        if times_s.max() > MAX_S:
            raise WorkloadError(f"{self.path}: timestamps span {times_s.max():.3g} s, expected at most {MAX_S:.3g} s")
        if self.timestamp_unit == "ms":
            notes += _seconds_note(stamps, times_s)
        order = np.argsort(times_s, kind="stable").tolist()
        arrivals_s, spread_note = self._spread(times_s, rng)
        found = self._grouped(requests, order, (arrivals_s / self.rate_scale).tolist())
        turns = len(requests) - len(found)
        if turns:
            notes.append(
                f"{turns:,} of {len(requests):,} requests go on with an earlier request's prompt: they are later turns"
                f" of its conversation, sent when the file says ({len(found):,} conversations)"
            )
        return Conversations(found=found, notes=(*notes, *spread_note))

    def _read(self) -> tuple[_Requests, list[str]]:
        """Return the requests that have an answer, in the order of the file, and what is to be said of the file."""
        requests = _Requests()
        unread: Counter[str] = Counter()
        unanswered = Unanswered(strict=self.strict)
        hashed_at: dict[bool, object] = {}
        for place, (where, text) in enumerate(numbered_lines(self.path)):
            if self.limit is not None and len(requests) >= self.limit:
                break
            row = json_object(text, where)
            unread.update(_unread(row, where))
            request = _request(row, self.block_tokens, where)
            hashed_at.setdefault(request.ids is not None, where)
            if len(hashed_at) == 2:
                raise WorkloadError(f"{hashed_at[False]}: key 'hash_ids' is missing; {hashed_at[True]} has it")
            if unanswered.keeps(request.output_tokens, where):
                requests.append(place, request)
        notes = [*unanswered.notes(self.path)]
        if unread:
            notes.append(
                "keys of the trace that are not read: " + ", ".join(f"{key} ({n:,} x)" for key, n in unread.items())
            )
        if False in hashed_at:
            notes.append("the trace has no hash_ids: no prefix is known, so no request reuses anything of another")
        return requests, notes

    def _spread(self, times_s: Floats, rng: np.random.Generator) -> tuple[Floats, tuple[str, ...]]:
        if self.spread_arrivals is False:
            return times_s, ()
        spacing = spacing_s(times_s)
        if spacing is None:
            if self.spread_arrivals:
                raise WorkloadError(
                    f"{self.path}: workload.spread_arrivals is true, but the timestamps do not lie on the ticks of a"
                    " coarse clock, several on each (docs/reference/traces.md)"
                )
            return times_s, ()
        return spread_s(times_s, spacing, rng), (
            f"arrivals spread: the trace's clock ticks every {spacing:g} s and several requests share a tick, so each"
            f" is moved by a draw from 0 to {spacing:g} s (workload.spread_arrivals=false plays them as written)",
        )

    def _grouped(
        self, requests: _Requests, order: Sequence[int], arrivals_s: Sequence[float]
    ) -> tuple[Conversation, ...]:
        """Return the conversations that the requests make up; `order` is theirs by time, then place in the file."""
        together = -(-SMALLEST_BLOCK_TOKENS // self.block_tokens)
        names: Blocks = {}
        members: defaultdict[int, list[int]] = defaultdict(list)
        hashed = len(requests.ids) > 0
        prompts = ((requests.ids_of(place), requests.input_tokens[place] // self.block_tokens) for place in order)
        for place, first in zip(order, first_prompts(prompts), strict=True):
            members[order[first]].append(place)

        def turn(place: int, *, first: bool) -> TurnSpec:
            input_tokens, ids = requests.input_tokens[place], tuple(requests.ids_of(place))
            if together > 1:
                ids = merged(ids[: input_tokens // self.block_tokens], together, -1, names)
            return TurnSpec(
                new_tokens=input_tokens,
                output_tokens=requests.output_tokens[place],
                arrival_s=None if first else arrivals_s[place],
                block_ids=ids if hashed else None,
                block_tokens=together * self.block_tokens,
            )

        found = []
        for places in members.values():
            places.sort(key=lambda place: arrivals_s[place])
            found.append(
                Conversation(
                    conversation_id=requests.number[places[0]],
                    arrival_s=arrivals_s[places[0]],
                    turns=tuple(turn(place, first=place == places[0]) for place in places),
                )
            )
        return tuple(sorted(found, key=lambda conversation: conversation.arrival_s))


def _seconds_note(stamps: Floats, times_s: Floats) -> list[str]:
    """Return what is said of timestamps that look like seconds although they are read as ms."""
    span_s = float(times_s.max())
    if (stamps != np.rint(stamps)).any():
        why = "not all are whole numbers"
    elif len(stamps) >= FEW_REQUESTS and 0.0 < span_s <= (len(stamps) - 1) / ABSURD_PER_S:
        why = f"as ms they would be {(len(stamps) - 1) / span_s:,.0f} requests a second"
    else:
        return []
    return [
        f"timestamps look like seconds ({why}); they are read as ms, so that the trace lasts {span_s:g} s"
        " (workload.timestamp_unit=s reads them as seconds)"
    ]


def _unread(row: dict[str, object], where: object) -> Iterable[str]:
    """Yield the keys of a row that mean nothing here; one that means something elsewhere, or a slip, is refused."""
    absent = [key for key in KEYS if key not in row]
    for key in row:
        if key in KEYS:
            continue
        if key in SESSION_KEYS:
            raise WorkloadError(
                f"{where}: key '{key}': requests that a key puts into sessions are not read; expected {', '.join(KEYS)}"
            )
        meant = nearest(key, absent)
        if meant:
            raise WorkloadError(f"{where}: unknown key '{key}' (valid: {', '.join(KEYS)}){meant}")
        yield key


def _request(row: dict[str, object], block_tokens: int, where: object) -> _Request:
    input_tokens = tokens(row, "input_length", where)
    return _Request(
        stamp=time_in(row, "timestamp", where, "ms or s", at_most=MAX_STAMP),
        input_tokens=input_tokens,
        output_tokens=tokens(row, "output_length", where, at_least=0),
        ids=_ids(row, input_tokens, block_tokens, where) if "hash_ids" in row else None,
    )


def _ids(row: dict[str, object], input_tokens: int, block_tokens: int, where: object) -> array[int]:
    ids = required(row, "hash_ids", where)
    if not isinstance(ids, list) or not all(type(i) is int and 0 <= i <= MAX_ID for i in ids):
        raise WorkloadError(f"{where}: hash_ids: given {shortened(ids)}, expected a list of block ids from 0")
    blocks = -(-input_tokens // block_tokens)
    if len(ids) != blocks:
        raise WorkloadError(
            f"{where}: hash_ids: given {len(ids)} blocks, expected {blocks} of {block_tokens} tokens for {input_tokens}"
            f"{_fitting(input_tokens, len(ids))}"
        )
    return array("q", ids)


def _fitting(input_tokens: int, blocks: int) -> str:
    """Return the power of two, if there is one, at which so many blocks hold a prompt."""
    size = 1 << max(-(-input_tokens // max(blocks, 1)) - 1, 0).bit_length()
    if -(-input_tokens // size) != blocks:
        return ""
    return f"; blocks of {size} tokens would fit (workload.block_tokens={size})"
