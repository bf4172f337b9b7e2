"""Each decision with its counterfactual: what either arm would have cost at that moment, by the view alone.

::

    regret = J(arm taken) - min(J(append-d), J(p-*))        0 where there was no choice

J is that of `costs`, at the model of the node that decodes. It is an estimate made before anything happened, so its sum
is not what a run would have saved with other decisions: queues move too. `ppdsim.des.compare` measures that.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim.routing.base import Decision
from ppdsim.routing.costs import append_cost, handoff_cost
from ppdsim.routing.view import NOWHERE, AbstractClusterView, Request
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, NodeRole, Transport

COLUMNS = (
    "t_s", "conversation_id", "turn", "arm", "prefill_node", "decode_node", "choice", "input_tokens", "cached_tokens",
    "prefill_cached_tokens", "streams", "wait_decode_s", "wait_prefill_s", "append_ttft_s", "append_stall_s",
    "append_j_s", "handoff_ttft_s", "handoff_stall_s", "handoff_j_s", "regret_s",
)  # fmt: skip
"""Times in seconds; stalls in stream-seconds; an arm that the node cannot take is empty (NaN)."""


class DecisionLog:
    """Rows as decisions are made; `models` are the cost models of the fleet's nodes, in order."""

    __slots__ = ("_gamma", "_models", "_rows", "_transport")

    def __init__(self, models: Sequence[TurnModel], transport: Transport, gamma: float) -> None:
        self._models, self._transport, self._gamma = models, transport, gamma
        self._rows: list[tuple[Any, ...]] = []

    def add(self, t_s: float, request: Request, view: AbstractClusterView, decision: Decision) -> None:
        """Log a decision at the moment it is made: the view must still be that of the decision."""
        node, gamma = decision.decode_node, self._gamma
        role, appends = view.role(node), decision.arm is Arm.APPEND_D
        prefill = NOWHERE if role is NodeRole.U else view.best_prefill() if appends else decision.prefill_node
        nan = float("nan")
        append = handoff = (nan, nan, nan)
        if role is NodeRole.U or (role is NodeRole.PD and request.may_append):
            cost = append_cost(self._models[node], request, view, node)
            append = (cost.ttft_s, cost.stall_s, cost.j_s(gamma))
        if prefill != NOWHERE:
            cost = handoff_cost(self._models[node], self._transport, request, view, node, prefill)
            handoff = (cost.ttft_s, cost.stall_s, cost.j_s(gamma))
        taken, other = (append, handoff) if appends else (handoff, append)
        choice = other[2] == other[2]  # a number: the other arm was possible
        self._rows.append((
            t_s, request.conversation_id, request.turn, decision.arm.value, prefill, node, choice,
            request.prompt_tokens, view.cached_tokens(node), view.cached_tokens(prefill) if prefill != NOWHERE else 0,
            view.streams(node), view.wait_s(node), view.wait_s(prefill) if prefill != NOWHERE else nan,
            *append, *handoff, max(taken[2] - other[2], 0.0) if choice else 0.0,
        ))  # fmt: skip

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return one array a column, in order of decision."""
        data = zip(*self._rows, strict=True) if self._rows else [()] * len(COLUMNS)
        return {
            name: _ids(values) if name == "conversation_id" else np.array(values)
            for name, values in zip(COLUMNS, data, strict=True)
        }


def _ids(values: Sequence[int | str]) -> NDArray[Any]:
    """Return an array; ids that mix numbers and text become text."""
    text = any(isinstance(value, str) for value in values)
    return np.array([str(value) for value in values] if text else values)


def write(path: Path, runs: Iterable[tuple[str, Mapping[str, NDArray[Any]]]]) -> None:
    """Write the decisions of one or more policies, as (policy, columns), to a CSV that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("policy", *COLUMNS))
            for policy, columns in runs:
                rows = zip(*(columns[name].tolist() for name in COLUMNS), strict=True)
                writer.writerows((policy, *(_cell(value) for value in row)) for row in rows)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value != value else value
