"""The turns of a run as columns: what they ask for, and what happened to them.

A turn is a row number everywhere in the simulator; rows follow conversations in order of arrival, then turns. Columns
are `array`, whose elements read as plain floats and ints (numpy scalars would leak into all arithmetic). Times are the
engine's; the client sees them `frontend.after_s` later.

A turn that follows an answer comes its think time after it; one with an arrival of its own (`sent`, else NaN) comes
then. `left` counts the turns of a conversation without an end, which of the second kind may end in any order.

Prompt of a turn: all earlier prompts and answers of its conversation plus its new tokens. A turn with block ids is its
whole prompt. A turn shares (`shared`) the prompt before it with its conversation or, with block ids, the leading blocks
that any earlier prompt of it has whole: several turns may go on with one prompt.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence

from ppdsim.des.spec import Preload
from ppdsim.workload.base import BLOCK_TOKENS, Conversation

OK, UNFINISHED, REJECTED, TIMED_OUT = 0, 1, 2, 3
STATUS_NAMES = ("ok", "unfinished", "rejected", "timed_out")


class Turns:
    """Columns of a run; see the module for what they hold."""

    __slots__ = (
        "block_tokens",
        "blocks",
        "cached",
        "choices",
        "clipped_prompts",
        "clipped_tokens",
        "conversation",
        "count",
        "decode_node",
        "fill",
        "finish_step",
        "first",
        "handed",
        "held",
        "held_s",
        "ids",
        "kv_done",
        "last",
        "left",
        "longest",
        "number",
        "output",
        "pauses",
        "prefill_cached",
        "prefill_node",
        "preloads",
        "prompt",
        "sent",
        "shared",
        "stall",
        "start_step",
        "starts_s",
        "status",
        "streams",
        "t_admitted",
        "t_arrival",
        "t_first",
        "t_last",
        "t_prefill_end",
        "t_prefill_start",
        "t_ready",
        "think",
        "wire",
    )  # fmt: skip

    def __init__(
        self, conversations: Iterable[Conversation], preloads: Mapping[int | str, Preload] | Preload | None = None
    ) -> None:
        # what is asked for
        self.ids: list[int | str] = []  # of conversations
        self.starts_s, self.first = array("d"), array("l")  # arrival and first row of each conversation
        self.left = array("l")
        self.conversation, self.number, self.last = array("i"), array("i"), bytearray()
        self.prompt, self.output = array("l"), array("l")
        self.shared = array("l")  # tokens of the prompt that an earlier turn of the conversation had in its own
        self.think, self.sent = array("d"), array("d")
        self.blocks: list[tuple[int, ...]] | None = None
        self.block_tokens = BLOCK_TOKENS
        self.preloads: dict[int, Preload] = {}
        self.clipped_prompts = self.clipped_tokens = 0  # that the workload has cut, and what it left out
        for conversation in conversations:
            self._add(conversation, preloads)
        n = self.count = len(self.prompt)
        self.fill = array("l", self.prompt)  # what a prefill has to cover: after a retraction, generated tokens too
        self.longest = max(map(int.__add__, self.prompt, self.output), default=0)  # most KV that a turn needs [tokens]
        nan = array("d", [math.nan])
        # what happened
        self.choices = 0  # decisions at which a pD had some of the prompt, so that it might have taken an append
        self.status = bytearray([UNFINISHED]) * n
        self.handed = bytearray(n)  # 1: prefilled on P
        self.prefill_node, self.decode_node = array("i", [-1]) * n, array("i", [-1]) * n
        self.cached, self.prefill_cached = array("l", [0]) * n, array("l", [0]) * n
        # On the decode node as the turn arrives: tokens of its prompt that are kept there, and streams that decode.
        self.held, self.streams = array("l", [0]) * n, array("i", [0]) * n
        self.t_arrival, self.t_ready, self.t_admitted = nan * n, nan * n, nan * n
        self.t_prefill_start, self.t_prefill_end, self.kv_done = nan * n, nan * n, nan * n
        self.t_first, self.t_last = nan * n, nan * n
        self.wire, self.stall = array("d", [0.0]) * n, array("d", [0.0]) * n
        self.start_step, self.finish_step = array("l", [0]) * n, array("l", [0]) * n
        self.held_s: dict[int, float] = {}  # first turns that had to wait at a capped front end: for how long
        # Retracted turns: for each retraction the step before it, the step before the stream goes on, and the time of
        # the token that a prefill gave it in between (NaN where it went on from a copy).
        self.pauses: dict[int, list[tuple[int, int, float]]] = {}

    def _add(self, conversation: Conversation, preloads: Mapping[int | str, Preload] | Preload | None) -> None:
        index, row = len(self.ids), len(self.prompt)
        self.ids.append(conversation.conversation_id)
        self.starts_s.append(conversation.arrival_s)
        self.first.append(row)
        self.left.append(len(conversation.turns))
        preload = preloads.get(conversation.conversation_id) if isinstance(preloads, Mapping) else preloads
        context = before = 0
        seen: set[int] = set()  # whole blocks of earlier prompts
        if preload is not None:
            self.preloads[row] = preload
            context = preload.cached_tokens
        if len({turn.arrival_s is None for turn in conversation.turns[1:]}) > 1:
            raise ValueError(f"conversation {conversation.conversation_id}: some turns are sent at times, others not")
        for number, turn in enumerate(conversation.turns):
            if turn.block_ids is not None:
                if self.blocks is None:
                    self.blocks, self.block_tokens = [()] * len(self.prompt), turn.block_tokens
                if turn.block_tokens != self.block_tokens:
                    raise ValueError(f"blocks of {turn.block_tokens} and of {self.block_tokens} tokens in one workload")
                context = 0
            prompt = context + turn.new_tokens
            context = prompt + turn.output_tokens
            if turn.block_ids is not None:
                before = self.block_tokens * self._leading(turn.block_ids, prompt, seen)
            self.shared.append(before)
            before = prompt
            self.conversation.append(index)
            self.number.append(number)
            self.last.append(number == len(conversation.turns) - 1)
            self.prompt.append(prompt)
            self.output.append(turn.output_tokens)
            self.think.append(turn.think_s)
            self.sent.append(math.nan if turn.arrival_s is None or not number else turn.arrival_s)
            if turn.clipped_tokens:
                self.clipped_prompts += 1
                self.clipped_tokens += turn.clipped_tokens
            if self.blocks is not None:
                self.blocks.append(turn.block_ids or ())

    def _leading(self, ids: Sequence[int], prompt: int, seen: set[int]) -> int:
        """Return how many of a prompt's leading blocks were seen, and add its whole ones; its last token is its own."""
        most = (prompt - 1) // self.block_tokens
        leading = next((at for at, block in enumerate(ids[:most]) if block not in seen), min(most, len(ids)))
        seen.update(ids[: prompt // self.block_tokens])
        return leading

    def next_sent_s(self, turn: int) -> float:
        """Return when the turn after this one is sent; NaN if it waits for the answer, or there is none [s]."""
        return math.nan if self.last[turn] else self.sent[turn + 1]

    def may_find_prefix(self, turn: int) -> bool:
        """Return whether a machine can have some of the turn's prompt when it arrives."""
        return self.number[turn] > 0 or self.blocks is not None or turn in self.preloads
