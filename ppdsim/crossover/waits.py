"""The waits of turns that arrive at random at the traffic's rate: they make the formulas comparable with a simulation.

An append waits for other appends (M/D/1) and for its turn between decode steps, behind which a part of its launch is
hidden; a hand-off waits for other forwards on P, for other transfers on the link (M/D/1 each), and for two boundaries
of D's steps: D pre-allocates at one, and the KV joins the batch at another, half a step each on average.
Turns that have their first token go on decoding and are stalled by later appends too: by Little's law
``rate x T_step x (output_tokens - 1)`` of them are on the node.

What they do not know: that between its two boundaries a hand-off takes a whole number of steps (its mean over many
sizes is used), that a transfer starts before its forward has ended, several requests in one forward, and the
correlation of the two queues. The simulator knows all four.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ppdsim.analytical.question import Question, cached_on_p
from ppdsim.analytical.queueing import mg1_wait_s
from ppdsim.cost.base import Array
from ppdsim.crossover.traffic import Traffic
from ppdsim.scenario.schema import CrossoverGrid
from ppdsim.turn import TurnModel
from ppdsim.types import Arm

SATURATED_S = 3600.0
"""Stands for the wait at a saturated server [s], so that two infinite waits can be compared."""


def under_load(
    grid: CrossoverGrid,
    traffic: Traffic,
    model: TurnModel,
    question: Question,
    cached_tokens: Array,
    new_tokens: Array,
) -> Question:
    """Return the question with the mean waits of turns of these sizes, arrays of the tokens' shape."""
    rate = traffic.rate_per_s
    step_s = float(model.decode.step_s(float(grid.residents), float(grid.residents * grid.resident_context_tokens)))
    if grid.residents:
        busy = np.asarray(model.prefill.seconds(new_tokens, cached_tokens, model.chunked_prefill_size, step_s))
        wait_d = mg1_wait_s(rate, busy) + model.step_wait_s(Arm.APPEND_D, step_s)
    else:
        forward_d = np.asarray(model.prefill.seconds(new_tokens, cached_tokens, model.chunked_prefill_size))
        wait_d = mg1_wait_s(rate, forward_d)
    on_p = np.asarray(cached_on_p(question, cached_tokens, model.on_p.page_size_tokens))
    prompt = cached_tokens + new_tokens
    forward_p = model.on_p.prefill.seconds(prompt - on_p, on_p, model.on_p.chunked_prefill_size)
    held = cached_tokens if question.arm is Arm.P_DELTA else cached_tokens * 0.0
    wire = model.handoff(question.arm, question.transport).wire_s(prompt - held, held)
    boundaries_s = model.step_wait_s(question.arm, step_s) if grid.residents else 0.0
    wait_p = mg1_wait_s(rate, forward_p) + mg1_wait_s(rate, wire) + boundaries_s
    return replace(
        question,
        wait_d_s=np.minimum(wait_d, SATURATED_S),
        wait_p_s=np.minimum(wait_p, SATURATED_S),
        decoding_turns=rate * step_s * (traffic.mean_output_tokens - 1.0),
    )
