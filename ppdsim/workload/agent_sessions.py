"""Coding-agent sessions of kv-cache-tester: JSONL, one session a line, prefixes by block of 64 tokens.

A session has ``id``, ``block_size`` 64 and ``requests``: ``in`` and ``out`` [tokens], ``think_time`` [s] from the
answer before it, and ``hash_ids`` of the prompt's whole blocks, or the same run-length coded as ``hash_rle`` [start,
length, start, length, ...]. A request with ``requests`` of its own is a sub-agent that starts ``t`` seconds into the
session; it becomes a conversation of its own, whose ids are the session's.

With ``hash_id_scope`` "global" the ids of all such sessions are of one table, so that sessions share prefixes; with
"local", or without the key, each session has a table of its own.

Sessions have no common clock, so their starts are drawn: Poisson, one every `MEAN_GAP_S` on average times 1/rate_scale.
Eight blocks in a row become one block of `BLOCK_TOKENS`, named by what stands before it too. Answers are not in the
ids, so a machine is credited with earlier prompts only: P rightly, D with too little.

Where a prompt and its answer exceed `context_length`, the oldest tokens stay as far as there is room beside the new
ones; what lies between goes, as when an agent compacts its history. ``TurnSpec.clipped_tokens`` counts what went.

Not modelled: that a parent waits for its sub-agent; which model a request asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ppdsim.errors import WorkloadError
from ppdsim.limits import TRACE_BLOCKS
from ppdsim.printable import shortened
from ppdsim.workload.base import BLOCK_TOKENS, Conversation, Conversations, TurnSpec
from ppdsim.workload.blocks import Blocks, merged
from ppdsim.workload.tracefile import (
    MAX_TOKENS,
    AbstractTrace,
    Unanswered,
    json_object,
    names_of,
    numbered_lines,
    required,
    time_in,
    tokens,
    without_unanswered,
)

MEAN_GAP_S = 60.0
"""Mean time between the starts of two sessions at rate_scale 1; assumed, the sessions have no common clock [s]."""
TRACE_BLOCK_TOKENS = 64
"""Tokens in one hashed block of these traces [tokens]."""
MERGED = BLOCK_TOKENS // TRACE_BLOCK_TOKENS
MAX_BLOCKS = MAX_TOKENS // TRACE_BLOCK_TOKENS

Ids = list[int]
SCOPES = ("local", "global")
EVERYBODY = -1
"""The table of block ids that all sessions of global scope share; a session of its own has a lower number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    think_s: float
    input_tokens: int
    output_tokens: int
    ids: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class _Agent:
    """Requests that follow each other, when the first is sent within the session [s], and whether ids are global."""

    name: str
    start_s: float
    requests: tuple[_Request, ...]
    shares: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSessions(AbstractTrace):
    """Sessions of a file; ``limit`` counts sessions.

    Attributes
    ----------
    context_length : int or None
        Longest prompt with its answer that the model takes; longer ones are clipped [tokens].
    """

    context_length: int | None = None

    @staticmethod
    def recognises(first_line: str) -> bool:
        """Tell a session by ``requests``."""
        return not names_of(first_line).isdisjoint(("requests", "hash_id_scope"))

    def conversations(self, rng: np.random.Generator) -> Conversations:
        """Read the file and return its agents in order of arrival; a sub-agent's id is ``session/number``."""
        unanswered = Unanswered(strict=self.strict)
        sessions = read = 0
        within: list[
            tuple[int, Conversation]
        ] = []  # its session, and the conversation with times from that one's start
        seen: set[str] = set()
        blocks: Blocks = {}
        for where, text in numbered_lines(self.path):
            if self.limit is not None and sessions >= self.limit:
                break
            for agent in _session(text, where, unanswered):
                if agent.name in seen:
                    raise WorkloadError(f"{self.path}: session '{agent.name}' is there twice")
                seen.add(agent.name)
                read += sum(len(request.ids) for request in agent.requests)
                TRACE_BLOCKS.check(read, f"{where}: blocks of prompts so far", error=WorkloadError)
                table = EVERYBODY if agent.shares else EVERYBODY - 1 - sessions
                arrival_s, turns = without_unanswered(agent.start_s, _turns(agent, table, blocks, self.context_length))
                if turns:
                    within.append(
                        (sessions, Conversation(conversation_id=agent.name, arrival_s=arrival_s, turns=turns))
                    )
            sessions += 1
        starts_s = np.cumsum(rng.exponential(MEAN_GAP_S / self.rate_scale, sessions)).tolist()
        found = [replace(each, arrival_s=starts_s[session] + each.arrival_s) for session, each in within]
        if not found and not unanswered.dropped:
            raise WorkloadError(f"{self.path}: no session has a request; expected at least one")
        notes = unanswered.notes(self.path)
        return Conversations(found=tuple(sorted(found, key=lambda conversation: conversation.arrival_s)), notes=notes)


def _turns(agent: _Agent, table: int, blocks: Blocks, context_length: int | None) -> Iterator[TurnSpec]:
    before: Ids = []
    for number, request in enumerate(agent.requests):
        kept, prompt = request.ids, request.input_tokens
        over = 0 if context_length is None else prompt + request.output_tokens - context_length
        if over > 0 and context_length is not None:
            shared = _shared(before, request.ids)
            kept, prompt = _clipped(request, shared, max(context_length - request.output_tokens, 1))
        before = request.ids
        yield TurnSpec(
            new_tokens=prompt,
            output_tokens=request.output_tokens,
            think_s=request.think_s if number else 0.0,
            block_ids=merged(kept, MERGED, table, blocks),
            clipped_tokens=request.input_tokens - prompt,
        )


def _shared(before: Ids, ids: Ids) -> int:
    """Return the length of the common leading run of two lists of ids."""
    for place, (one, other) in enumerate(zip(before, ids, strict=False)):
        if one != other:
            return place
    return min(len(before), len(ids))


def _clipped(request: _Request, shared: int, room_tokens: int) -> tuple[Ids, int]:
    """Cut the middle out of a prompt: its oldest blocks, then all that is new; return the ids and the tokens left."""
    new_tokens = min(request.input_tokens - shared * TRACE_BLOCK_TOKENS, room_tokens)
    oldest = (room_tokens - new_tokens) // TRACE_BLOCK_TOKENS
    ids = [*request.ids[:oldest], *request.ids[shared : shared + new_tokens // TRACE_BLOCK_TOKENS]]
    # A prompt that was sent before, in less room than a block: what is left of its first one.
    return ids, oldest * TRACE_BLOCK_TOKENS + new_tokens or room_tokens


def _session(text: str, where: object, unanswered: Unanswered) -> list[_Agent]:
    row = json_object(text, where)
    name = required(row, "id", where)
    if not isinstance(name, str) or not name:
        raise WorkloadError(f"{where}: id: given {shortened(name)}, expected a text")
    if required(row, "block_size", where) != TRACE_BLOCK_TOKENS:
        raise WorkloadError(f"{where}: block_size: given {shortened(row['block_size'])}, expected {TRACE_BLOCK_TOKENS}")
    scope = row.get("hash_id_scope", SCOPES[0])
    if scope not in SCOPES:
        raise WorkloadError(f"{where}: hash_id_scope: given {shortened(scope)}, expected {' or '.join(SCOPES)}")
    shares = scope == "global"
    own: list[_Request] = []
    agents: list[_Agent] = []
    for place, request in enumerate(_list(row, "requests", where)):
        here = f"{where}: requests[{place}]"
        if not isinstance(request, dict):
            raise WorkloadError(f"{here}: given {shortened(request)}, expected a JSON object")
        if "requests" in request:
            start_s = time_in(request, "t", here, "s")
            nested = tuple(_requests(_list(request, "requests", here), f"{here}.requests", unanswered))
            if nested:
                agent = _Agent(name=f"{name}/{len(agents) + 1}", start_s=start_s, requests=nested, shares=shares)
                agents.append(agent)
        else:
            own.append(_request(request, here, unanswered))
    return [_Agent(name=name, start_s=0.0, requests=tuple(own), shares=shares), *agents] if own else agents


def _requests(rows: Sequence[object], where: object, unanswered: Unanswered) -> Iterator[_Request]:
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise WorkloadError(f"{where}[{place}]: given {shortened(row)}, expected a JSON object")
        yield _request(row, f"{where}[{place}]", unanswered)


def _request(row: dict[str, object], where: object, unanswered: Unanswered) -> _Request:
    output_tokens = tokens(row, "out", where, at_least=0)
    unanswered.keeps(output_tokens, where)
    return _Request(
        think_s=time_in(row, "think_time", where, "s") if "think_time" in row else 0.0,
        input_tokens=tokens(row, "in", where),
        output_tokens=output_tokens,
        ids=_ids(row, where),
    )


def _ids(row: dict[str, object], where: object) -> Ids:
    key = "hash_rle" if "hash_rle" in row else "hash_ids"
    given = _list(row, key, where)
    if not all(type(value) is int and 0 <= value < 2**62 for value in given):
        raise WorkloadError(f"{where}: {key}: given {shortened(given)}, expected whole numbers from 0")
    numbers: Ids = [value for value in given if isinstance(value, int)]
    whole = tokens(row, "in", where) // TRACE_BLOCK_TOKENS
    if key == "hash_rle":
        if len(numbers) % 2 or sum(numbers[1::2]) > MAX_BLOCKS:
            raise WorkloadError(f"{where}: hash_rle: given {shortened(given)}, expected pairs of start and length")
        counted = sum(numbers[1::2])
    else:
        counted = len(numbers)
    # The last block may be listed although it is partial.
    if counted not in (whole, whole + 1):
        raise WorkloadError(f"{where}: {key}: given {counted} blocks, expected {whole} of {TRACE_BLOCK_TOKENS} tokens")
    if key == "hash_rle":
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        numbers = [number for start, length in pairs for number in range(start, start + length)]
    return numbers[:whole]


def _list(row: dict[str, object], key: str, where: object) -> list[object]:
    value = required(row, key, where)
    if not isinstance(value, list):
        raise WorkloadError(f"{where}: {key}: given {shortened(value)}, expected a list")
    return value
