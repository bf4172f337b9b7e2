"""Azure LLM inference traces (2023 and 2024): CSV, one request a line, no sessions and no prefixes.

Columns ``TIMESTAMP`` (UTC, up to nine decimals), ``ContextTokens``, ``GeneratedTokens``. Each request becomes a
conversation of one turn, so nothing is ever reused: the trace does not say what could be.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from ppdsim.errors import WorkloadError, misspelt
from ppdsim.printable import shortened
from ppdsim.reading import csv_fields
from ppdsim.units import NS_PER_S
from ppdsim.workload.base import Conversation, Conversations, TurnSpec
from ppdsim.workload.tracefile import MAX_TOKENS, AbstractTrace, Line, Unanswered, no_conversation

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
STAMP = re.compile(
    r"((?:19|20|21)\d\d-\d\d-\d\d)[ T]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)?", re.ASCII
)
FIRST_DAY = date(1970, 1, 1)
MOST_DIGITS = 10
"""Digits of a count that are read: more make it larger than any limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureTrace(AbstractTrace):
    """Requests of an Azure file, each a conversation of one turn without a prefix."""

    @staticmethod
    def recognises(first_line: str) -> bool:
        """Tell an Azure file by its header."""
        return "ContextTokens" in first_line and not first_line.startswith("{")

    def conversations(self, rng: np.random.Generator) -> Conversations:
        """Read the file and return its requests from time 0; `rng` is not used."""
        rows = csv_fields(self.path, error=WorkloadError)
        stamp_at, new_at, output_at = _columns(next(rows, None), self.path)
        # Numbers by column: an object a row would take eight times the room of its text.
        sent_ns, new_tokens, output_tokens = array("q"), array("q"), array("q")
        unanswered = Unanswered(strict=self.strict)
        days_s: dict[str, int] = {}
        name = str(self.path)
        for number, fields in rows:
            if self.limit is not None and len(sent_ns) >= self.limit:
                break
            try:
                moment_ns = _moment_ns(fields[stamp_at].strip(), days_s)
                new = _count(fields[new_at].strip(), "ContextTokens")
                output = _count(fields[output_at].strip(), "GeneratedTokens", at_least=0)
            except ValueError as problem:
                raise WorkloadError(f"{Line(name, number)}: {problem}") from None
            if unanswered.keeps(output, Line(name, number)):
                sent_ns.append(moment_ns)
                new_tokens.append(new)
                output_tokens.append(output)
        notes = unanswered.notes(self.path)
        after_ns = np.array(sent_ns) - min(sent_ns)
        found = tuple(
            Conversation(
                conversation_id=index,
                arrival_s=int(after_ns[index]) / NS_PER_S / self.rate_scale,
                turns=(TurnSpec(new_tokens=new_tokens[index], output_tokens=output_tokens[index]),),
            )
            for index in np.argsort(after_ns, kind="stable").tolist()
        )
        return Conversations(found=found, notes=notes)


def _columns(header: tuple[int, list[str]] | None, path: Path) -> tuple[int, ...]:
    if header is None:
        raise no_conversation(path)
    number, names = header
    for column in COLUMNS:
        if column not in names:
            raise WorkloadError(
                f"{path}:{number}: column '{column}' is missing{misspelt(column, names, known=COLUMNS)}"
            )
    return tuple(names.index(column) for column in COLUMNS)


def _moment_ns(stamp: str, days_s: dict[str, int]) -> int:
    """Return a UTC time since 1970 [ns]; `days_s` keeps the days that were met.

    Raises
    ------
    ValueError
        If it is no such time.
    """
    match = STAMP.fullmatch(stamp)
    try:
        day, hour, minute, second, fraction = match.groups() if match else ("", 0, 0, 0, None)
        if day not in days_s:
            days_s[day] = (date.fromisoformat(day) - FIRST_DAY).days * 86_400
    except ValueError:
        raise ValueError(
            f"TIMESTAMP: given {shortened(stamp)}, expected a UTC time such as 2023-11-16 18:15:46.6805900"
        ) from None
    whole_s = days_s[day] + int(hour) * 3_600 + int(minute) * 60 + int(second)
    return whole_s * NS_PER_S + (int(fraction.ljust(9, "0")) if fraction else 0)


def _count(digits: str, column: str, *, at_least: int = 1) -> int:
    if (
        digits.isdigit()
        and digits.isascii()
        and len(digits) <= MOST_DIGITS
        and at_least <= (count := int(digits)) <= MAX_TOKENS
    ):
        return count
    raise ValueError(f"{column}: given {shortened(digits)}, expected a whole number from {at_least} tokens")
