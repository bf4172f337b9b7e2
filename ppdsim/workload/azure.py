"""Azure LLM inference traces (2023 and 2024): CSV, one request a line, no sessions and no prefixes.

Columns ``TIMESTAMP`` (UTC, up to seven decimals), ``ContextTokens``, ``GeneratedTokens``. Each request becomes a
conversation of one turn, so nothing is ever reused: the trace does not say what could be.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from ppdsim.errors import WorkloadError, misspelt
from ppdsim.workload.base import Conversation, Conversations, TurnSpec
from ppdsim.workload.tracefile import MAX_TOKENS, AbstractTrace, Unanswered, numbered_lines, shown

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
STAMP = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(\.\d{1,9})?(?:Z|\+00:00)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureTrace(AbstractTrace):
    """Requests of an Azure file, each a conversation of one turn without a prefix."""

    @staticmethod
    def recognises(first_line: str) -> bool:
        """Tell an Azure file by its header."""
        return "ContextTokens" in first_line and not first_line.startswith("{")

    def conversations(self, rng: np.random.Generator) -> Conversations:
        """Read the file and return its requests from time 0; `rng` is not used."""
        lines = numbered_lines(self.path)
        header_number, header = next(lines)
        columns = _header(header, f"{self.path}:{header_number}")
        requests: list[tuple[datetime, float, TurnSpec]] = []
        unanswered = Unanswered(strict=self.strict)
        for number, text in lines:
            if self.limit is not None and len(requests) >= self.limit:
                break
            where = f"{self.path}:{number}"
            request = _request(text, columns, where)
            if unanswered.keeps(request[2].output_tokens, where):
                requests.append(request)
        if not requests and not unanswered.dropped:
            raise WorkloadError(f"{self.path}: a header and no request; expected at least one")
        notes = unanswered.notes(self.path)
        order = sorted(range(len(requests)), key=lambda index: requests[index][:2])
        start, start_fraction_s, _ = requests[order[0]]
        found = tuple(
            Conversation(
                conversation_id=index,
                arrival_s=((when - start).total_seconds() + fraction_s - start_fraction_s) / self.rate_scale,
                turns=(turn,),
            )
            for index in order
            for when, fraction_s, turn in (requests[index],)
        )
        return Conversations(found=found, notes=notes)


def _fields(text: str, where: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as problem:
        raise WorkloadError(f"{where}: not CSV ({problem})") from None


def _header(text: str, where: str) -> dict[str, int]:
    names = [name.strip() for name in _fields(text, where)]
    for column in COLUMNS:
        if column not in names:
            raise WorkloadError(f"{where}: column '{column}' is missing{misspelt(column, names, known=COLUMNS)}")
    return {column: names.index(column) for column in COLUMNS}


def _request(text: str, columns: dict[str, int], where: str) -> tuple[datetime, float, TurnSpec]:
    fields = _fields(text, where)
    if len(fields) <= max(columns.values()):
        raise WorkloadError(f"{where}: given {len(fields)} fields, expected {', '.join(columns)}")
    stamp = fields[columns["TIMESTAMP"]].strip()
    match = STAMP.fullmatch(stamp)
    try:
        when = datetime.fromisoformat(match[1] if match else "").replace(tzinfo=timezone.utc)
    except ValueError:
        raise WorkloadError(
            f"{where}: TIMESTAMP: given {shown(stamp)}, expected a UTC time such as 2023-11-16 18:15:46.6805900"
        ) from None
    turn = TurnSpec(
        new_tokens=_count(fields[columns["ContextTokens"]], "ContextTokens", where),
        output_tokens=_count(fields[columns["GeneratedTokens"]], "GeneratedTokens", where, at_least=0),
    )
    return when, float(match[2] or 0.0) if match else 0.0, turn


def _count(text: str, column: str, where: str, *, at_least: int = 1) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 10 or not at_least <= int(digits) <= MAX_TOKENS:
        raise WorkloadError(f"{where}: {column}: given {shown(digits)}, expected a whole number from {at_least} tokens")
    return int(digits)
