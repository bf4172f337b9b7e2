"""Generated multi-turn chat.

``count`` conversations arrive by a renewal process; the number of turns of each is geometric, at least 1, with mean
``turns_mean`` (the chance of one more turn is ``1 - 1/turns_mean`` after every turn). Lengths and think times are
independent of each other and of the turn, except that the first turn has a distribution of its own (system prompt,
documents).

Arrivals, numbers of turns, lengths, answers and think times come from generators of their own, spawned from the one
given: a change of the think times leaves every length as it was, so that two runs differ only in what was changed.
Users who type longer after longer answers are not modelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ppdsim.workload.arrivals import AbstractArrivals
from ppdsim.workload.base import AbstractWorkload, Conversation, Conversations, TurnSpec
from ppdsim.workload.lengths import AbstractLength


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedWorkload(AbstractWorkload):
    """Conversations drawn from distributions.

    Attributes
    ----------
    count : int
        Conversations to draw.
    arrivals : AbstractArrivals
        When they start.
    turns_mean : float
        Mean number of turns, at least 1.
    first_turn_new_tokens, later_turn_new_tokens, output_tokens : AbstractLength
        Token counts [tokens].
    think_time : AbstractLength
        Time from an answer's last token to the next turn [s].
    """

    count: int
    arrivals: AbstractArrivals
    turns_mean: float
    first_turn_new_tokens: AbstractLength
    later_turn_new_tokens: AbstractLength
    output_tokens: AbstractLength
    think_time: AbstractLength

    def conversations(self, rng: np.random.Generator) -> Conversations:
        """Return ``count`` conversations with ids 0, 1, 2 ... in order of arrival, to be read once."""
        return Conversations(found=self._drawn(rng))

    def _drawn(self, rng: np.random.Generator) -> Iterator[Conversation]:
        arrival_rng, turn_rng, first_rng, later_rng, output_rng, think_rng = rng.spawn(6)
        arrivals_s = self.arrivals.times_s(arrival_rng, self.count)
        turns = turn_rng.geometric(1.0 / self.turns_mean, self.count)
        total = int(turns.sum())
        new_tokens = self.later_turn_new_tokens.draw_tokens(later_rng, total)
        think_s = self.think_time.draw(think_rng, total)
        first_of = np.cumsum(turns) - turns
        new_tokens[first_of] = self.first_turn_new_tokens.draw_tokens(first_rng, self.count)
        think_s[first_of] = 0.0
        output_tokens = self.output_tokens.draw_tokens(output_rng, total)
        start = 0
        # Objects are made one conversation at a time: a million turns of them would be 300 MB.
        for index, length in enumerate(turns.tolist()):
            rows = slice(start, start + length)
            yield Conversation(
                conversation_id=index,
                arrival_s=float(arrivals_s[index]),
                turns=tuple(
                    TurnSpec(new_tokens=new, output_tokens=out, think_s=think)
                    for new, out, think in zip(
                        new_tokens[rows].tolist(), output_tokens[rows].tolist(), think_s[rows].tolist(), strict=True
                    )
                ),
            )
            start += length
