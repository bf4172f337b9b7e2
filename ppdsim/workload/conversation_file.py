"""The project's own conversation file: JSONL, one turn a line.

=================== ======================== =========================================================
key                 unit                     meaning
=================== ======================== =========================================================
``conversation_id`` integer or text          lines with the same id form one conversation
``turn``            count from 0             every turn from 0 to the last must be there, in any order
``arrival_s``       s, turn 0 only           when the conversation starts
``think_s``         s, later turns only      from the previous answer's last token to this turn
``new_tokens``      tokens, at least 1       what this turn adds to the conversation
``output_tokens``   tokens, at least 0       length of the answer; a turn with 0 is dropped and counted
=================== ======================== =========================================================

What a dropped turn added stays in the conversation: its tokens and its think time go to the next turn.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ppdsim.errors import WorkloadError
from ppdsim.printable import shortened
from ppdsim.workload.base import Conversation, Conversations, TurnSpec
from ppdsim.workload.tracefile import (
    AbstractTrace,
    Line,
    Unanswered,
    json_object,
    names_of,
    numbered_lines,
    only_keys,
    required,
    time_in,
    tokens,
    without_unanswered,
)

Ints: TypeAlias = NDArray[np.int64]
KEYS = ("conversation_id", "turn", "arrival_s", "think_s", "new_tokens", "output_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationFile(AbstractTrace):
    """Conversations of a file in the format above; ``limit`` counts them by first mention."""

    @staticmethod
    def recognises(first_line: str) -> bool:
        """Tell the project's own format by ``conversation_id`` or ``new_tokens``."""
        return not names_of(first_line).isdisjoint(("conversation_id", "new_tokens"))

    def conversations(self, rng: np.random.Generator) -> Conversations:
        """Read the file and return its conversations in order of arrival; `rng` is not used."""
        # Numbers by column: an object a turn would take five times the room of its text.
        numbers: dict[int | str, int] = {}
        whose, turns, lines = array("q"), array("q"), array("q")
        times_s, new_tokens, output_tokens = array("d"), array("q"), array("q")
        for where, text in numbered_lines(self.path):
            identity, turn, time_s, new, output = _turn(text, where)
            whose.append(numbers.setdefault(identity, len(numbers)))
            turns.append(turn)
            lines.append(where.number)
            times_s.append(time_s)
            new_tokens.append(new)
            output_tokens.append(output)
        names = list(numbers)
        order = np.lexsort((turns, whose))
        by_turn = np.array(whose)[order]
        self._check_turns(by_turn, np.array(turns)[order], np.array(lines)[order], names)
        unanswered = Unanswered(strict=self.strict)
        every: list[Conversation] = []
        starts = np.searchsorted(by_turn, np.arange(len(names) + 1)).tolist()
        for identity, (start, end) in zip(names, pairwise(starts), strict=True):
            if self.limit is not None and len(every) >= self.limit:
                break
            places = order[start:end].tolist()
            for place in sorted(places):
                unanswered.keeps(output_tokens[place], Line(str(self.path), lines[place]))
            specs = (
                TurnSpec(
                    new_tokens=new_tokens[place],
                    output_tokens=output_tokens[place],
                    think_s=times_s[place] if turns[place] else 0.0,
                )
                for place in places
            )
            arrival_s, kept = without_unanswered(times_s[places[0]] / self.rate_scale, specs)
            if kept:
                every.append(Conversation(conversation_id=identity, arrival_s=arrival_s, turns=kept))
        notes = unanswered.notes(self.path)
        return Conversations(found=tuple(sorted(every, key=lambda conversation: conversation.arrival_s)), notes=notes)

    def _check_turns(self, whose: Ints, turns: Ints, lines: Ints, names: Sequence[int | str]) -> None:
        """Refuse a turn that is there twice, or without the ones before it; sorted by conversation, turn and line."""
        again = np.flatnonzero((np.diff(whose) == 0) & (np.diff(turns) == 0))
        if len(again):
            place = int(again[np.argmin(lines[again + 1])])
            raise WorkloadError(
                f"{self.path}:{lines[place + 1]}: turn {turns[place]} of conversation {names[whose[place]]} again;"
                f" first at {self.path}:{lines[place]}"
            )
        expected = np.arange(len(whose)) - np.searchsorted(whose, whose)
        for place in np.flatnonzero(turns != expected)[:1].tolist():
            raise WorkloadError(
                f"{self.path}:{lines[place]}: turn {turns[place]} of conversation {names[whose[place]]} without turn"
                f" {expected[place]}"
            )


def _turn(text: str, where: object) -> tuple[int | str, int, float, int, int]:
    row = json_object(text, where)
    only_keys(row, KEYS, where)
    identity = required(row, "conversation_id", where)
    if isinstance(identity, bool) or not isinstance(identity, (int, str)):
        raise WorkloadError(f"{where}: conversation_id: given {shortened(identity)}, expected an integer or a text")
    turn = tokens(row, "turn", where, at_least=0)
    key, other = ("think_s", "arrival_s") if turn else ("arrival_s", "think_s")
    if other in row:
        raise WorkloadError(f"{where}: {other} on turn {turn}; turn 0 has arrival_s, later turns have think_s")
    time_s = time_in(row, key, where, "s")
    new_tokens, output_tokens = tokens(row, "new_tokens", where), tokens(row, "output_tokens", where, at_least=0)
    return identity, turn, time_s, new_tokens, output_tokens
