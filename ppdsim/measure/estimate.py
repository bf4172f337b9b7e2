"""How long a plan takes, from a profile of another machine: printed before anything is measured.

Each kind of cell is added up as it is measured, pauses and flushes included: the turn and its answer, the prefix that a
block warms, residents that start, fill and decode undisturbed between turns. To them come what no cell is: one turn of
every size when servers have come up, and the probes in between. Cells are measured `least` times, which most need no
more than, or once. A load goes on until the last of its conversations has ended, at the times of an idle engine.

Not modelled: queueing in a load, and repeats that noise makes necessary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppdsim import library, profile
from ppdsim.errors import PpdsimError
from ppdsim.measure.cells import Cell, DecodeCell, LoadCell, PrefillCell, StallCell, TransferCell
from ppdsim.measure.plan import (
    DECODE_OUTPUT_TOKENS,
    INJECTED_TURNS,
    WARM_TOGETHER,
    WARM_TOKENS,
    Plan,
    conversations_of,
    stall_prefixes,
)
from ppdsim.measure.prefill import OUTPUT_TOKENS, SETTLE_S
from ppdsim.measure.residents import RAMP_TOKENS
from ppdsim.measure.stall import QUIET_TOKENS
from ppdsim.profile import Profile
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport

DEFAULT = "h200x2_llama-3.1-8b_sglang-0.5.17"
"""The profile for a GPU that no installed one was measured on."""
TRANSFER_S = 0.05
"""A transfer cell of no bytes [s]; this and the next: the real engine over TCP on two cores, host memory."""
TRANSFER_S_PER_BYTE = 1.5e-8
"""Filling, clearing, sending twice and checking one byte of a transfer cell [s/B]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What measuring takes beside the engine's times.

    `request_s` goes by with each request, before and after it; `flush_s` while one server empties its cache. Both are
    what lies between rows of `h100x2_llama-3.1-8b_sglang-0.5.17` that follow each other, less the turn and the pause.
    """

    request_s: float = 0.0015
    flush_s: float = 0.0055


def seconds_by_kind(
    cells: Sequence[Cell],
    model: TurnModel,
    plan: Plan,
    *,
    decode_radix: bool = False,
    once: bool = False,
    client: Client = Client(),
) -> Mapping[str, float]:
    """Return the estimated time of one service's cells by kind, and of warm-up and probes [s].

    Parameters
    ----------
    cells : sequence of Cell
        What is measured on the service.
    model : TurnModel
        Times of another machine.
    plan : Plan
        How often, and what the loads are.
    decode_radix : bool
        Whether D has a prefix cache.
    once : bool
        The first measurement of each cell only, in one pass, instead of the `least` that the plan asks for in as many
        passes as it has.
    client : Client
        What measuring takes beside the engine's times.
    """
    times = _Times(model, client, decode_radix=decode_radix)
    out: dict[str, float] = defaultdict(float)
    warmed: dict[int, int] = {}
    for cell in cells:
        if isinstance(cell, LoadCell):
            out[cell.kind] += times.load_s(plan, cell)
            continue
        repeats = 1 if once else plan.repeats_for(cell).least
        out[cell.kind] += repeats * times.cell_s(cell)
        if isinstance(cell, PrefillCell):
            # A block's cells share it, whatever their arm.
            warmed[cell.cached_tokens] = repeats
    arms = [(cell.arm, cell.transport) for cell in cells if isinstance(cell, (PrefillCell, StallCell))]
    if not arms:
        return dict(out)
    out["prefill"] += sum(repeats * times.warm_s(*arms[0], cached) for cached, repeats in warmed.items())
    sizes = {cell.new_tokens for cell in cells if isinstance(cell, (PrefillCell, StallCell))}
    together = WARM_TOGETHER if any(isinstance(cell, LoadCell) for cell in cells) else ()
    out["warm-up"] = (1 if once else plan.passes) * times.warm_up_s(*arms[0], sizes, together)
    # None is measured during a load, and elsewhere one comes after the cell in which its time has come.
    measured_s = sum(seconds for kind, seconds in out.items() if kind not in ("load", "warm-up", "transfer"))
    every_s = plan.probe.every_s + 0.5 * measured_s / (len(cells) * (1 if once else 2))
    out["probes"] = (1.0 + measured_s / every_s) * times.probe_s(plan, list(dict.fromkeys(arms)))
    return dict(out)


class _Times:
    """What things take, by the curves of `model` [s]."""

    def __init__(self, model: TurnModel, client: Client, *, decode_radix: bool) -> None:
        self._model = model
        self._client = client
        self._decode_radix = decode_radix

    def cell_s(self, cell: Cell) -> float:
        """Return one measurement of a cell, without the prefix that its block shares."""
        if isinstance(cell, PrefillCell):
            empties = self._decode_radix and cell.arm is Arm.P_FULL and cell.cached_tokens
            return self._prefill_s(cell) + (self._client.flush_s if empties else 0.0)
        if isinstance(cell, DecodeCell):
            start_s = self._start_s(Arm.APPEND_D, Transport.NONE, cell.batch, cell.prompt_tokens)
            context = cell.prompt_tokens + DECODE_OUTPUT_TOKENS // 2
            return self._client.flush_s + start_s + (DECODE_OUTPUT_TOKENS - 1) * self._step_s(cell.batch, context)
        if isinstance(cell, StallCell):
            return self._stall_s(cell)
        if isinstance(cell, TransferCell):
            return TRANSFER_S + TRANSFER_S_PER_BYTE * cell.size_bytes
        return 0.0

    def load_s(self, plan: Plan, cell: LoadCell) -> float:
        """Return when the last conversation of a load ends, if none of them waited for another."""
        end_s = 0.0
        for conversation in conversations_of(plan, cell):
            time_s, held = conversation.arrival_s, 0
            for turn in conversation.turns:
                time_s += turn.think_s + self._turn_s(cell.arm, cell.transport, held, turn.new_tokens)
                held += turn.new_tokens + turn.output_tokens
                time_s += turn.output_tokens * self._step_s(1, held)
            end_s = max(end_s, time_s)
        return self._flush_s(cell.arm) + end_s

    def warm_s(self, arm: Arm, transport: Transport, cached_tokens: int) -> float:
        """Return what a block's prefix takes, after every cache was emptied."""
        return self._flush_s(arm) + self._request_s(arm, transport, 0, cached_tokens)

    def warm_up_s(self, arm: Arm, transport: Transport, sizes: Iterable[int], together: Iterable[int]) -> float:
        """Return what one turn of every size takes when servers have come up, and small ones `together` at once."""
        turns_s = sum(self._request_s(arm, transport, 0, size) + self._step_s(1, size) for size in sizes)
        bursts_s = sum(self._start_s(arm, transport, n, WARM_TOKENS) + self._step_s(n, WARM_TOKENS) for n in together)
        return self._flush_s(arm) + turns_s + bursts_s

    def probe_s(self, plan: Plan, arms: Sequence[tuple[Arm, Transport]]) -> float:
        """Return what a probe takes on average: each arm's small one, and over a link the larger one."""
        sizes = [(arm, transport, plan.probe.new_tokens) for arm, transport in arms]
        if arms[0][0] is not Arm.APPEND_D and plan.probe.handoff_tokens is not None:
            sizes.append((*arms[0], plan.probe.handoff_tokens))
        cells = [
            PrefillCell(arm=arm, transport=transport, cached_tokens=0, new_tokens=size)
            for arm, transport, size in sizes
        ]
        return float(np.mean([self._prefill_s(cell) for cell in cells]))

    def _prefill_s(self, cell: PrefillCell) -> float:
        turn_s = self._request_s(cell.arm, cell.transport, cell.cached_tokens, cell.new_tokens)
        return SETTLE_S + turn_s + (OUTPUT_TOKENS - 1) * self._step_s(1, cell.context_tokens)

    def _stall_s(self, cell: StallCell) -> float:
        prefixes = stall_prefixes(cell, decode_radix=self._decode_radix)
        prefix_s = self._request_s(cell.arm, cell.transport, 0, cell.cached_tokens)
        start_s = self._start_s(cell.arm, cell.transport, cell.batch, cell.prompt_tokens)
        turn_s = self._request_s(cell.arm, cell.transport, cell.cached_tokens, cell.new_tokens)
        steps = RAMP_TOKENS + (INJECTED_TURNS + 1) * QUIET_TOKENS
        return (
            self._flush_s(cell.arm)
            + prefixes * prefix_s
            + (self._client.flush_s if prefixes > 1 else 0.0)
            + start_s
            + INJECTED_TURNS * turn_s
            + steps * self._step_s(cell.batch, cell.prompt_tokens)
        )

    def _start_s(self, arm: Arm, transport: Transport, batch: int, prompt_tokens: int) -> float:
        """Return when the last of `batch` prompts has its first token, all sent at once.

        A forward takes as many as fit its chunk; over a link, KV of one travels while the next is computed.
        """
        together = max(1, self._model.chunked_prefill_size // prompt_tokens)
        whole, rest = divmod(batch, together)
        sizes = [together] * whole + [rest] * bool(rest)
        curve = self._model.handoffs.get((arm, transport))
        sends_s = 0.0 if curve is None else (sizes[0] - 1) * float(np.asarray(curve.send_s))
        first_s = self._request_s(arm, transport, 0, sizes[0] * prompt_tokens) + sends_s
        return first_s + sum(self._behind_s(arm, transport, requests, prompt_tokens) for requests in sizes[1:])

    def _behind_s(self, arm: Arm, transport: Transport, requests: int, prompt_tokens: int) -> float:
        """Return what a forward adds behind another one: itself, or its KV on the link if that takes longer."""
        forward_s = self._turn_s(Arm.APPEND_D, Transport.NONE, 0, requests * prompt_tokens)
        curve = self._model.handoffs.get((arm, transport))
        if curve is None:
            return forward_s
        forward_s += float(np.asarray(requests * curve.request_result_s + curve.beside_send_s))
        return max(forward_s, requests * float(np.asarray(curve.wire_s(float(prompt_tokens), 0.0))))

    def _request_s(self, arm: Arm, transport: Transport, cached_tokens: int, new_tokens: int) -> float:
        turn_s = self._turn_s(arm, transport, cached_tokens, new_tokens)
        return turn_s + self._client.request_s if new_tokens else 0.0

    def _turn_s(self, arm: Arm, transport: Transport, cached_tokens: int, new_tokens: int) -> float:
        """Return the TTFT of a turn; over a link that the profile does not know, what its forward takes and no more."""
        if not new_tokens:
            return 0.0
        if (arm, transport) not in self._model.handoffs:
            arm, transport = Arm.APPEND_D, Transport.NONE
        return float(np.asarray(self._model.ttft_s(arm, transport, float(cached_tokens), float(new_tokens))))

    def _step_s(self, batch: int, context_tokens: int) -> float:
        return float(np.asarray(self._model.decode.step_s(float(batch), float(batch * context_tokens))))

    def _flush_s(self, arm: Arm) -> float:
        return self._client.flush_s * (1 if arm is Arm.APPEND_D else 2)


def reference(gpu: str) -> Profile:
    """Return whose times a plan goes by before the machine is known: those of a profile of this GPU with most cells.

    A profile that cannot be read is passed over.
    """
    found = profile.load(library.find("profile", DEFAULT))
    for path in library.installed("profile").values():
        try:
            other = profile.load(path)
        except PpdsimError:
            continue
        if other.gpu == gpu and (found.gpu != gpu or _measured(other) > _measured(found)):
            found = other
    return found


def _measured(one: Profile) -> tuple[int, int]:
    """Return of how many hand-offs a profile has measured cells, and how many cells in all; none if it is derived."""
    cells = [record.cells for record in one.curves]
    return sum(record.arm is not None and record.cells > 0 for record in one.curves), sum(cells)
