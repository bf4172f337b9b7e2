"""The waits of turns that arrive at random at the traffic's rate: they make the formulas comparable with a simulation.

An append waits for other appends (M/D/1) and for its turn between decode steps, behind which a part of its launch is
hidden; a hand-off waits for other forwards on P, for other transfers on the link (M/D/1 each), and for two boundaries
of D's steps: D pre-allocates at one, and the KV joins the batch at another, half a step each on average.
Turns that have their first token go on decoding and are stalled by later appends too: by Little's law
``rate x T_step x (output_tokens - 1)`` of them are on the node.

Not modelled: that between its two boundaries a hand-off takes a whole number of steps (its mean over many
sizes is used), that a transfer starts before its forward has ended, several requests in one forward, and the
correlation of the two queues. The simulator knows all four.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ppdsim.analytical.arm_comparison import ArmComparison, cached_on_p
from ppdsim.analytical.queueing import mg1_wait_s
from ppdsim.cost.base import Array, Quantity
from ppdsim.crossover.traffic import Traffic
from ppdsim.scenario.schema import CrossoverGrid
from ppdsim.turn import TurnModel
from ppdsim.types import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """For how long a turn keeps each server busy [s], arrays of the tokens' shape: D, P, and the link between them."""

    on_d_s: Array
    on_p_s: Array
    on_link_s: Array

    @property
    def append_per_s(self) -> Array:
        """Rate below which D keeps up with appends [1/s]."""
        return np.asarray(1.0 / self.on_d_s)

    @property
    def handoff_per_s(self) -> Array:
        """Rate below which P and the link keep up with hand-offs [1/s]."""
        return np.asarray(1.0 / np.maximum(self.on_p_s, self.on_link_s))


def services(
    grid: CrossoverGrid, model: TurnModel, comparison: ArmComparison, cached_tokens: Quantity, new_tokens: Quantity
) -> Services:
    """Return how long turns of these sizes keep the servers of both arms busy."""
    beside_s = model.hidden_s(_step_s(grid, model)) if grid.residents else 0.0
    on_p = np.asarray(cached_on_p(comparison, cached_tokens, model.on_p.page_size_tokens))
    prompt = cached_tokens + new_tokens
    held = cached_tokens if comparison.arm is Arm.P_DELTA else cached_tokens * 0.0
    chunk_tokens = model.on_p.chunked_prefill_size
    forward_p = model.on_p.prefill.seconds(prompt - on_p, on_p, chunk_tokens)
    curve = model.handoff(comparison.arm, comparison.transport)
    between_p = (curve.request_result_s + curve.beside_send_s) * np.ceil((prompt - on_p) / chunk_tokens)
    return Services(
        on_d_s=np.asarray(model.prefill.seconds(new_tokens, cached_tokens, model.chunked_prefill_size, beside_s)),
        on_p_s=np.asarray(forward_p + between_p),
        on_link_s=np.asarray(curve.wire_s(prompt - held, held)),
    )


def under_load(
    grid: CrossoverGrid,
    traffic: Traffic,
    model: TurnModel,
    comparison: ArmComparison,
    cached_tokens: Quantity,
    new_tokens: Quantity,
) -> ArmComparison:
    """Return the comparison with the mean waits of turns of these sizes, arrays of the tokens' shape.

    A wait is infinite where a server of the arm is asked for more than it can do: the arm is OVERLOADED there.
    """
    rate, step_s = traffic.rate_per_s, _step_s(grid, model)
    busy = services(grid, model, comparison, cached_tokens, new_tokens)
    boundary_d_s = model.step_wait_s(Arm.APPEND_D, step_s) if grid.residents else 0.0
    boundaries_p_s = model.step_wait_s(comparison.arm, step_s) if grid.residents else 0.0
    return replace(
        comparison,
        wait_d_s=mg1_wait_s(rate, busy.on_d_s) + boundary_d_s,
        wait_p_s=mg1_wait_s(rate, busy.on_p_s) + mg1_wait_s(rate, busy.on_link_s) + boundaries_p_s,
        decoding_turns=rate * step_s * (traffic.mean_output_tokens - 1.0),
    )


def _step_s(grid: CrossoverGrid, model: TurnModel) -> float:
    return float(model.decode.step_s(float(grid.residents), float(grid.residents * grid.resident_context_tokens)))
