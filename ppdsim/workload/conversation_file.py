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

from dataclasses import dataclass

import numpy as np

from ppdsim.errors import WorkloadError
from ppdsim.workload.base import Conversation, Conversations, TurnSpec
from ppdsim.workload.tracefile import (
    AbstractTrace,
    Unanswered,
    json_object,
    names_of,
    numbered_lines,
    only_keys,
    required,
    shown,
    time_in,
    tokens,
    without_unanswered,
)

KEYS = ("conversation_id", "turn", "arrival_s", "think_s", "new_tokens", "output_tokens")

_Turns = dict[int, tuple[float, TurnSpec, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationFile(AbstractTrace):
    """Conversations of a file in the format above; ``limit`` counts them by first mention."""

    @staticmethod
    def recognises(first_line: str) -> bool:
        """Tell the project's own format by ``conversation_id`` or ``new_tokens``."""
        return not names_of(first_line).isdisjoint(("conversation_id", "new_tokens"))

    def conversations(self, rng: np.random.Generator) -> Conversations:
        """Read the file and return its conversations in order of arrival; `rng` is not used."""
        found: dict[int | str, _Turns] = {}
        for number, text in numbered_lines(self.path):
            where = f"{self.path}:{number}"
            identity, turn, time_s, spec = _turn(text, where)
            turns = found.setdefault(identity, {})
            if turn in turns:
                raise WorkloadError(f"{where}: turn {turn} of conversation {identity} again; first at {turns[turn][2]}")
            turns[turn] = (time_s, spec, where)
        for identity, turns in found.items():
            _check_complete(identity, turns)
        unanswered = Unanswered(strict=self.strict)
        every: list[Conversation] = []
        for identity, turns in found.items():
            if self.limit is not None and len(every) >= self.limit:
                break
            conversation = _conversation(identity, turns, self.rate_scale, unanswered)
            if conversation.turns:
                every.append(conversation)
        notes = unanswered.notes(self.path)
        return Conversations(found=tuple(sorted(every, key=lambda conversation: conversation.arrival_s)), notes=notes)


def _turn(text: str, where: str) -> tuple[int | str, int, float, TurnSpec]:
    row = json_object(text, where)
    only_keys(row, KEYS, where)
    identity = required(row, "conversation_id", where)
    if isinstance(identity, bool) or not isinstance(identity, (int, str)):
        raise WorkloadError(f"{where}: conversation_id: given {shown(identity)}, expected an integer or a text")
    turn = tokens(row, "turn", where, at_least=0)
    key, other = ("think_s", "arrival_s") if turn else ("arrival_s", "think_s")
    if other in row:
        raise WorkloadError(f"{where}: {other} on turn {turn}; turn 0 has arrival_s, later turns have think_s")
    time_s = time_in(row, key, where, "s")
    spec = TurnSpec(
        new_tokens=tokens(row, "new_tokens", where),
        output_tokens=tokens(row, "output_tokens", where, at_least=0),
        think_s=time_s if turn else 0.0,
    )
    return identity, turn, time_s, spec


def _check_complete(identity: int | str, turns: _Turns) -> None:
    for expected, turn in enumerate(sorted(turns)):
        if turn != expected:
            raise WorkloadError(f"{turns[turn][2]}: turn {turn} of conversation {identity} without turn {expected}")


def _conversation(identity: int | str, turns: _Turns, rate_scale: float, unanswered: Unanswered) -> Conversation:
    for _, spec, where in turns.values():
        unanswered.keeps(spec.output_tokens, where)
    arrival_s, kept = without_unanswered(turns[0][0] / rate_scale, (turns[turn][1] for turn in sorted(turns)))
    return Conversation(conversation_id=identity, arrival_s=arrival_s, turns=kept)
