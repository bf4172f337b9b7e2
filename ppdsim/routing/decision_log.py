"""Each decision with its counterfactual: what each arm would have cost at that moment, by the view alone.

::

    regret = J(arm taken) - min(J(append-d), J(hand-off arm of the fleet))        0 where there was no choice

J is that of `costs`. It is an estimate made before anything happened, so its sum is not what a run would have saved
with other decisions: queues move too. `ppdsim.simulation.compare` measures that. The fleet's hand-off arm is p-delta
where D keeps its radix cache, else p-full. The other one is logged too, as what that switch would do to this turn:
p-full wherever the profile has it, p-delta where the decode node keeps prefixes.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim.files import whole
from ppdsim.printable import cell
from ppdsim.routing.base import Decision
from ppdsim.routing.costs import ArmCost, append_cost, handoff_cost, handoff_delay_s
from ppdsim.routing.fleet_model import FleetModel
from ppdsim.routing.view import NOWHERE, AbstractClusterView, Request
from ppdsim.types import Arm, NodeRole

COLUMNS = (
    "t_s", "conversation_id", "turn", "arm", "prefill_node", "decode_node", "choice", "input_tokens", "cached_tokens",
    "prefill_cached_tokens", "streams", "wait_decode_s", "wait_prefill_s", "append_ttft_s", "append_stall_s",
    "append_j_s", "p_full_ttft_s", "p_full_stall_s", "p_full_j_s", "p_delta_ttft_s", "p_delta_stall_s", "p_delta_j_s",
    "regret_s",
)  # fmt: skip
"""Times in seconds; stalls in stream-seconds; an arm that the node cannot take is empty (NaN)."""
NAN = float("nan")
NO_ARM = (NAN, NAN, NAN)


class DecisionLog:
    """Rows as decisions are made, at the costs of `fleet` and the price `gamma` of a stalled stream-second."""

    __slots__ = ("_fleet", "_gamma", "_not_done", "_rows")

    def __init__(self, fleet: FleetModel, gamma: float) -> None:
        self._fleet, self._gamma = fleet, gamma
        self._rows: list[tuple[Any, ...]] = []
        # Hand-offs that the fleet does not do, by pair and arm: (row, held, new and cached on P [tokens], delay and
        # stall [s]). Their curves are asked for all rows at once, at the end.
        self._not_done: dict[tuple[int, int, Arm], list[tuple[float, ...]]] = {}

    def add(self, t_s: float, request: Request, view: AbstractClusterView, decision: Decision) -> None:
        """Log a decision at the moment it is made: the view must still be that of the decision."""
        fleet, node = self._fleet, decision.decode_node
        role, appends, delta = view.role(node), decision.arm is Arm.APPEND_D, view.handoff_arm is Arm.P_DELTA
        prefill = NOWHERE if role is NodeRole.U else view.best_prefill() if appends else decision.prefill_node
        append = own = p_full = p_delta = NO_ARM
        held, on_p = view.cached_tokens(node), view.cached_tokens(prefill) if prefill != NOWHERE else 0
        if role is NodeRole.U or (role is NodeRole.PD and held):
            append = self._figures(append_cost(fleet, request, view, node))
        if prefill != NOWHERE:
            own_arm, other_arm = (Arm.P_DELTA, Arm.P_FULL) if delta else (Arm.P_FULL, Arm.P_DELTA)
            cost = handoff_cost(fleet, request, view, node, prefill, own_arm)
            own = self._figures(cost)
            p_full, p_delta = (NO_ARM, own) if delta else (own, NO_ARM)
            if (delta or role is NodeRole.PD) and fleet.can_hand_over(prefill, other_arm):
                delay_s = handoff_delay_s(fleet, request, view, node, prefill, other_arm, held)
                self._not_done.setdefault((prefill, node, other_arm), []).append(
                    (len(self._rows), held, request.prompt_tokens - held, on_p, delay_s, cost.stall_s)
                )
        taken, other = (append, own) if appends else (own, append)
        choice = other[2] == other[2]  # a number: the other arm was possible
        self._rows.append((
            t_s, request.conversation_id, request.turn, decision.arm, prefill, node, choice,
            request.prompt_tokens, held, on_p, view.streams(node),
            view.wait_s(node), view.wait_s(prefill) if prefill != NOWHERE else NAN,
            *append, *p_full, *p_delta, max(taken[2] - other[2], 0.0) if choice else 0.0,
        ))  # fmt: skip

    def _figures(self, cost: ArmCost) -> tuple[float, float, float]:
        return cost.ttft_s, cost.stall_s, cost.j_s(self._gamma)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return one array a column, in order of decision."""
        data = zip(*self._rows, strict=True) if self._rows else [()] * len(COLUMNS)
        columns = {name: _CONVERTED.get(name, np.array)(values) for name, values in zip(COLUMNS, data, strict=True)}
        for (prefill, node, arm), asked in self._not_done.items():
            row, held, new, on_p, delay_s, stall_s = np.array(asked).T
            model, name = self._fleet.pair(prefill, node), arm.value.replace("-", "_")
            ttft_s = delay_s + model.handoff_ttft_s(arm, self._fleet.transport, held, new, on_p)
            figures = (ttft_s, stall_s, ttft_s + self._gamma * stall_s)
            for figure, values in zip(("ttft_s", "stall_s", "j_s"), figures, strict=True):
                columns[f"{name}_{figure}"][row.astype(np.int64)] = values
        return columns


def _ids(values: Sequence[int | str]) -> NDArray[Any]:
    """Return an array; ids that mix numbers and text become text."""
    text = any(isinstance(value, str) for value in values)
    return np.array([str(value) for value in values] if text else values)


def _arms(values: Sequence[Arm]) -> NDArray[np.str_]:
    return np.array([value.value for value in values], dtype=np.str_)


_CONVERTED: Mapping[str, Callable[[Sequence[Any]], NDArray[Any]]] = {"conversation_id": _ids, "arm": _arms}
"""How columns that hold no numbers become arrays."""


def write(path: Path, runs: Iterable[tuple[str, Mapping[str, NDArray[Any]]]]) -> None:
    """Write the decisions of one or more policies, as (policy, columns), to a CSV that appears whole or not at all."""
    with whole(path) as scratch, scratch.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("policy", *COLUMNS))
        for policy, columns in runs:
            rows = zip(*(columns[name].tolist() for name in COLUMNS), strict=True)
            writer.writerows((cell(policy), *map(cell, row)) for row in rows)
