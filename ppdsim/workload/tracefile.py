"""What every trace reader shares: its attributes, numbered lines of a plain or gzipped file, and checked fields.

A trace is read whole before its first conversation is handed out, so a bad line is found before anything is
simulated. Every problem is a :class:`~ppdsim.errors.WorkloadError` that starts with ``file:line:``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import orjson

from ppdsim.errors import WorkloadError, misspelt, nearest
from ppdsim.limits import NUMBER, TOKENS
from ppdsim.printable import shortened
from ppdsim.reading import lines, parse_json
from ppdsim.workload.base import AbstractWorkload, TurnSpec

MAX_TOKENS = TOKENS.value
"""Largest token count that is believed [tokens]."""
MAX_S = float(NUMBER.value)
"""Largest time that is believed, about 32 years [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstractTrace(AbstractWorkload):
    """A workload that is read from a file.

    Attributes
    ----------
    path : Path
        The file, plain or gzipped.
    rate_scale : float
        Conversations start this many times as often as in the file; think times stay as they are.
    limit : int or None
        Only the first `limit` conversations of the file; of a format of single requests, the first `limit` requests.
    strict : bool
        Refuse a row without an answer instead of dropping it.
    """

    path: Path
    rate_scale: float = 1.0
    limit: int | None = None
    strict: bool = False

    @staticmethod
    @abstractmethod
    def recognises(first_line: str) -> bool:
        """Tell from the first line of a file that is not blank whether this format can hold it."""


class Unanswered:
    """The one rule for rows without an answer (0 output tokens): they are dropped and counted, or refused.

    A request that got no token says nothing of a serving system but what its prompt cost, if that was computed at all:
    traces have such rows where a request was cancelled or refused.
    """

    __slots__ = ("_rows", "_strict", "dropped")

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._rows = self.dropped = 0

    def keeps(self, output_tokens: int, where: object) -> bool:
        """Count a row, and return whether it has an answer.

        Raises
        ------
        WorkloadError
            If it has none and the workload is strict.
        """
        self._rows += 1
        if output_tokens:
            return True
        if self._strict:
            raise WorkloadError(
                f"{where}: 0 output tokens, expected at least 1 (workload.strict=false drops such rows)"
            )
        self.dropped += 1
        return False

    def notes(self, path: Path) -> tuple[str, ...]:
        """Return what is printed.

        Raises
        ------
        WorkloadError
            If no row has an answer.
        """
        if not self._rows:
            raise WorkloadError(f"{path}: a header and no request; expected at least one")
        if self._rows == self.dropped:
            raise WorkloadError(f"{path}: none of its {self._rows} rows has an answer; expected at least one")
        if not self.dropped:
            return ()
        return (f"{self.dropped:,} of {self._rows:,} requests of the trace have no answer (0 output tokens): dropped",)


def without_unanswered(arrival_s: float, turns: Iterable[TurnSpec]) -> tuple[float, tuple[TurnSpec, ...]]:
    """Return when a conversation starts and its turns that have an answer.

    What the user wrote in a dropped turn stays in the conversation, as does the time that it took: both go to the next
    turn. A turn with block ids is a whole prompt, and has it already.
    """
    kept: list[TurnSpec] = []
    new_tokens, think_s = 0, 0.0
    for turn in turns:
        new_tokens, think_s = new_tokens + turn.new_tokens, think_s + turn.think_s
        if not turn.output_tokens:
            continue
        if not kept:
            arrival_s, think_s = arrival_s + think_s, 0.0
        whole = turn.new_tokens if turn.block_ids is not None else new_tokens
        kept.append(replace(turn, new_tokens=whole, think_s=think_s))
        new_tokens, think_s = 0, 0.0
    return arrival_s, tuple(kept)


class Line(NamedTuple):
    """A line of a file, as errors name it; the words are made when one is raised.

    >>> f"{Line('a.jsonl', 3)}: key 'in' is missing"
    "a.jsonl:3: key 'in' is missing"
    """

    path: str
    number: int

    def __str__(self) -> str:
        return f"{self.path}:{self.number}"

    def __format__(self, spec: str) -> str:
        return str(self)


def numbered_lines(path: Path) -> Iterator[tuple[Line, str]]:
    """Yield where it stands and the text of each line that is not blank; gzip is recognised by its first two bytes.

    Raises
    ------
    WorkloadError
        If the file is missing, unreadable, not UTF-8, a broken gzip, or holds nothing.
    """
    empty, name = True, str(path)
    for number, text in lines(path, error=WorkloadError):
        empty = False
        yield Line(name, number), text.strip()
    if empty:
        raise no_conversation(path)


def no_conversation(path: Path) -> WorkloadError:
    """Return the error for a file that holds nothing."""
    return WorkloadError(f"{path}: empty; expected at least one conversation")


def json_object(text: str, where: object) -> dict[str, object]:
    """Parse one line as a JSON object.

    Raises
    ------
    WorkloadError
        If it is not JSON, or not an object.
    """
    row = parse_json(text, where, error=WorkloadError, hint="; expected one JSON object a line")
    if not isinstance(row, dict):
        raise WorkloadError(f"{where}: given {shortened(row)}, expected a JSON object")
    return row


def only_keys(row: Mapping[str, object], valid: Sequence[str], where: object) -> None:
    """Refuse a key that is not in `valid`, naming the nearest one.

    Raises
    ------
    WorkloadError
        For the first unknown key.
    """
    for key in row:
        if key not in valid:
            raise WorkloadError(f"{where}: unknown key '{key}' (valid: {', '.join(valid)}){nearest(key, valid)}")


def required(row: Mapping[str, object], key: str, where: object) -> object:
    """Return ``row[key]``.

    Raises
    ------
    WorkloadError
        If the key is missing; one of the row that looks like a misspelling of it is named.
    """
    if key not in row:
        raise WorkloadError(f"{where}: key '{key}' is missing{misspelt(key, row)}")
    return row[key]


def tokens(row: Mapping[str, object], key: str, where: object, *, at_least: int = 1) -> int:
    """Return a whole number of tokens between `at_least` and ``MAX_TOKENS``.

    Raises
    ------
    WorkloadError
        If the key is missing, or its value is anything else.
    """
    value = required(row, key, where)
    if type(value) is not int or value < at_least:
        raise WorkloadError(f"{where}: {key}: given {shortened(value)}, expected a whole number from {at_least} tokens")
    if value > MAX_TOKENS:
        TOKENS.check(value, f"{where}: {key}", error=WorkloadError)
    return value


def time_in(row: Mapping[str, object], key: str, where: object, unit: str, *, at_most: float = MAX_S) -> float:
    """Return a time from 0 to `at_most` in the row's own unit, which `unit` names.

    Raises
    ------
    WorkloadError
        If the key is missing, or its value is not such a number.
    """
    value = required(row, key, where)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= at_most:
        raise WorkloadError(f"{where}: {key}: given {shortened(value)}, expected a time of at least 0 {unit}")
    return float(value)


def names_of(text: str) -> set[str]:
    """Return the keys of a line that holds a JSON object, and nothing for any other line."""
    try:
        row = orjson.loads(text)
    except orjson.JSONDecodeError:
        return set()
    return set(row) if isinstance(row, dict) else set()
