"""Whom a unified server admits: it keeps back a share, the new-token ratio, of what the running answers may still need.

::

    admitted  if  extend + min(max_new, 4096) + page  <  available - ratio * sum(min(left, 4096))
                                                                   - what this forward has admitted before
    ratio     from init = min(0.7 * schedule_conservativeness, 1), less (init - min) / 600 at every decode step,
              down to min = 0.14 init; again init when the server is idle;
              after a retraction min(1, (sum(generated) + 20 n) / (sum(max_new) + 1)) over the n streams that stay

A head that is refused, or that finds no running slot, makes the batch "full": nobody is looked at until a stream has
left the batch, which the scheduler sees one step after its last token (two when it launches ahead). Source: SGLang
0.5.17, managers/schedule_policy.py PrefillAdder.__init__, add_one_req, _update_prefill_budget; managers/scheduler.py
_get_new_batch_prefill_raw, update_running_batch, on_idle; managers/scheduler_components/new_token_ratio_tracker.py;
the numbers from environ.py.

Not modelled: `max_new_tokens` is taken as the length of the answer, as a client that fixes it would send;
residents, who decode without end, count as if they needed nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ppdsim.des.admission import AbstractAdmission
from ppdsim.des.batching import Piece
from ppdsim.des.node_memory import AbstractNodeMemory
from ppdsim.des.spec import ClusterSpec
from ppdsim.engines.sglang.environ import (
    CLIP_MAX_NEW_TOKENS,
    INIT_NEW_TOKEN_RATIO,
    MIN_NEW_TOKEN_RATIO_FACTOR,
    NEW_TOKEN_RATIO_DECAY_STEPS,
    RETRACT_DECODE_STEPS,
)
from ppdsim.engines.sglang.scheduler.pages import evict_after_retraction, evict_for_forward
from ppdsim.engines.sglang.scheduler.retraction import most_tokens_first


class NewTokenRatio:
    """The ratio after so many decode steps [1]."""

    __slots__ = ("_base", "_decay", "_init", "_min", "_since")

    def __init__(self, schedule_conservativeness: float) -> None:
        self._init = self._base = min(INIT_NEW_TOKEN_RATIO * schedule_conservativeness, 1.0)
        self._min = min(self._init * MIN_NEW_TOKEN_RATIO_FACTOR, 1.0)
        self._decay = (self._init - self._min) / NEW_TOKEN_RATIO_DECAY_STEPS
        self._since = 0

    def at(self, steps: int) -> float:
        """Return the ratio when `steps` decode steps have been launched since the start."""
        return max(self._base - self._decay * max(steps - self._since, 0), self._min)

    def reset(self, steps: int) -> None:
        """Start again: the server is idle."""
        self._base, self._since = self._init, steps

    def retracted(self, generated_tokens: int, max_new_tokens: int, streams: int, steps: int) -> None:
        """Estimate again from the streams that stay; the step that is launched now takes nothing off."""
        estimate = (generated_tokens + RETRACT_DECODE_STEPS * streams) / (max_new_tokens + 1)
        self._base, self._since = min(1.0, estimate), steps + 1


class NewTokenAdmission(AbstractAdmission):
    """Admission control of one unified server; a forward is formed between `begin_forward` and the next one."""

    __slots__ = (
        "_again", "_answers", "_lag", "_left", "_left_before", "_max_running", "_mixed", "_offset", "_page", "_pool",
        "_ratio", "_summed", "_turns", "_unit",
    )  # fmt: skip

    resumes_from_copy = False

    def __init__(self, node: AbstractNodeMemory, spec: ClusterSpec) -> None:
        super().__init__(node)
        self._turns, self._pool, self._page = node.turns, node.pool, node.pool.page
        self._max_running, self._mixed = spec.max_running_requests, node.engine.mixes_steps
        self._lag = int(node.engine.overlap_schedule)  # steps whose results the scheduler has not seen when it decides
        self._ratio = NewTokenRatio(spec.schedule_conservativeness)
        self._again: float = 0  # boundary from which the queue is looked at; infinite while the batch is full
        self._left, self._left_before = (-9, 0), (-9, 0)  # the last two boundaries where streams left, and how many
        self._answers = 0  # of admitted turns [tokens], an upper limit of what they may still need
        self._offset = 0.0
        self._summed = True
        self._unit = 0

    @property
    def again(self) -> float:
        """Return the boundary from which the queue is looked at; infinite while the batch is full."""
        return self._again

    def could_hold(self, turn: int) -> bool:
        """Return whether prompt, answer and a page leave something of a pool without streams."""
        turns, decode_rows = self._turns, self._node.residents if self._mixed else 0
        return turns.prompt[turn] + turns.output[turn] + self._page + decode_rows < self._pool.capacity * self._page

    def admits(self, turn: int, slots: int, *, reuse: bool) -> bool:
        """Return whether a turn may start now; if not, the batch is full."""
        del slots, reuse
        if self._unit < self._again:
            return False
        turns, node = self._turns, self._node
        # Streams that have just ended still count until the scheduler filters its batch.
        ending = 0
        if node.streams:
            ending = sum(count for unit, count in (self._left, self._left_before) if unit + self._lag >= self._unit)
        if node.active + ending < self._max_running:
            left = turns.output[turn] - (turns.fill[turn] - turns.prompt[turn])
            room = self._pool.room_tokens(turn) - min(left, CLIP_MAX_NEW_TOKENS) - self._page - self._offset
            if self._summed:
                fits = room > 0
            elif room > self._answers + turns.output[turn] + self._page:
                fits = True
            else:
                owed = sum(min(self._left_of(*item), CLIP_MAX_NEW_TOKENS) for item in node.running())
                ratio = self._ratio.at(node.decode_steps)
                self._offset += owed * ratio
                self._summed = True
                fits = room - owed * ratio > 0
            if fits:
                return True
            self._pool.touch(turn)
        self._fill()
        return False

    def takes_back(self, kv_tokens: int) -> bool:
        """Return false: a retracted stream waits in the queue."""
        del kv_tokens
        return False

    def keep_order(self) -> list[tuple[int, int]]:
        """Return the streams with the most tokens so far first, then those with the shortest prompts."""
        return most_tokens_first(self._node)

    def begin_forward(self, decode_rows: int, cut_ends: int) -> None:
        """Begin to form a forward with `decode_rows` streams in it and the last chunk of `cut_ends`, if not -1."""
        self._unit = self._node.unit
        self._offset = float(decode_rows)
        if cut_ends >= 0:
            self._charge(cut_ends)
        self._summed = False

    def admitted(self, turn: int) -> None:
        """Count a turn that has its pages now."""
        self._charge(turn)
        self._answers += self._turns.output[turn]
        if self._summed and self._pool.available * self._page <= self._offset:
            self._fill()

    def after_forward(self, streams_before: int, ended: int, *, mixed: bool, cut: bool) -> None:
        """Look again after a forward, unless all that was in it joined a batch that was full before."""
        if mixed or cut or ended or not streams_before:
            self._again = 0

    def left(self, turns: Sequence[int]) -> None:
        """Take streams that have their last token at a boundary out of the books."""
        for turn in turns:
            self.forget(turn)
        node = self._node
        if not node.streams:
            self._again = 0
            return
        self._left_before, self._left = self._left, (node.unit, len(turns))
        self._again = min(self._again, node.unit + 1 + self._lag)

    def forget(self, turn: int) -> None:
        """Take a turn out of the books."""
        self._answers -= self._turns.output[turn]

    def retracted(self, turn: int) -> None:
        """Take a retracted stream out of the books; its place is looked at from the next boundary on."""
        self.forget(turn)
        self._again = min(self._again, self._node.unit + 1)

    def formed(self, pieces: Sequence[Piece]) -> None:
        """Evict for a forward."""
        evict_for_forward(self._pool, pieces)

    def withdrawn(self) -> None:
        """Evict for the streams that stay."""
        evict_after_retraction(self._node)

    def retractions_done(self) -> None:
        """Set the ratio from the streams that stay."""
        turns, running = self._turns, list(self._node.running())
        generated = sum(turns.output[turn] - self._left_of(turn, kv_tokens) for turn, kv_tokens in running)
        maximum = sum(turns.output[turn] for turn, _ in running)
        self._ratio.retracted(generated, maximum, len(running), self._node.decode_steps)

    def idle(self) -> None:
        """Start again with the first ratio."""
        self._ratio.reset(self._node.decode_steps)

    def _left_of(self, turn: int, kv_tokens: int) -> int:
        """Return the tokens of a stream that the scheduler has not seen yet."""
        return self._turns.prompt[turn] + self._turns.output[turn] - 1 - kv_tokens + self._lag

    def _charge(self, turn: int) -> None:
        self._offset += min(self._turns.output[turn], CLIP_MAX_NEW_TOKENS) + self._page

    def _fill(self) -> None:
        again = [unit + 1 + self._lag for unit, _ in (self._left, self._left_before) if unit + self._lag >= self._unit]
        self._again = min(again, default=math.inf)
