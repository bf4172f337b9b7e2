"""The turns of a run as the columns of its results, each worked out from what was recorded when somebody asks for it.

Recorded are the engine's times; the client sees tokens `frontend.after_s` later. Times of turns without an answer are
NaN where the answer belongs to them.
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim import metrics
from ppdsim.columns import Columns, Names, Spelled
from ppdsim.des.itl import TokenGaps
from ppdsim.des.spec import ClusterSpec
from ppdsim.des.turns import OK, STATUS_NAMES, Turns
from ppdsim.results import TURN_COLUMNS
from ppdsim.types import Arm, Transport

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class TurnTable:
    """The columns of a run that has ended; every method returns some rows of one."""

    __slots__ = (
        "_after_s", "_gaps", "_handed", "_held_s", "_ids", "_node", "_radix", "_reach", "_spec", "_turns", "status",
    )  # fmt: skip

    def __init__(self, spec: ClusterSpec, turns: Turns, gaps: TokenGaps) -> None:
        self._spec, self._turns, self._gaps = spec, turns, gaps
        self._radix = spec.disaggregation_decode_enable_radix_cache
        frontends = [node.model.frontend for node in spec.nodes]
        # One entry more, which -1 (no node) finds.
        self._after_s = np.array([*(float(each.after_s()) for each in frontends), np.nan])
        fixed_s = np.array([*(float(each.before_s(0)) for each in frontends), np.nan])
        self._reach = fixed_s, np.array([*(float(each.before_s(1)) for each in frontends), np.nan]) - fixed_s
        self._ids = np.array(turns.ids, dtype=None if all(isinstance(i, int) for i in turns.ids) else np.str_)
        self.status = np.frombuffer(bytes(turns.status), dtype=np.uint8)
        self._handed = np.frombuffer(bytes(turns.handed), dtype=np.bool_)
        self._node = _view(turns.decode_node)
        self._held_s = np.zeros(turns.count)
        self._held_s[list(turns.held_s)] = list(turns.held_s.values())

    def columns(
        self, *, run_id: str, seed: int, slo_class: str, limits: metrics.SloLimits
    ) -> dict[str, Spelled | NDArray[Any]]:
        """Return all columns but ``extrapolated``, in the order of the results."""
        turns, count = self._turns, self._turns.count
        arm = np.where(self._node < 0, 0, np.where(self._handed, 1, 2)).astype(np.uint8)
        columns: dict[str, Spelled | NDArray[Any]] = {
            "run_id": np.broadcast_to(np.array(run_id), count),
            "seed": np.broadcast_to(np.array(seed), count),
            "conversation_id": self.conversation_id,
            "turn": _wide(turns.number),
            "request_id": self.request_id,
            "slo_class": np.broadcast_to(np.array(slo_class), count),
            "arm": Names(codes=arm, names=("", self._spec.handoff_arm.value, Arm.APPEND_D.value)),
            "transport": Names(codes=arm, names=("", self._spec.transport.value, Transport.NONE.value)),
            "prefill_node": _wide(turns.prefill_node),
            "decode_node": _wide(turns.decode_node),
            "input_tokens": _view(turns.prompt),
            "cached_tokens": self.cached_tokens,
            "prefill_cached_tokens": _view(turns.prefill_cached),
            "new_tokens": self.new_tokens,
            "decode_held_tokens": _view(turns.held),
            "decode_streams": _wide(turns.streams),
            "output_tokens": _view(turns.output),
            "t_arrival_s": _view(turns.t_arrival),
            "t_prefill_start_s": _view(turns.t_prefill_start),
            "t_first_token_s": self.t_first_token_s,
            "t_last_token_s": self.t_last_token_s,
            "queue_s": self.queue_s,
            "kv_wait_s": self.kv_wait_s,
            "prefill_s": self.prefill_s,
            "kv_transfer_s": self.kv_transfer_s,
            "kv_transfer_exposed_s": self.kv_transfer_exposed_s,
            "ttft_s": self.ttft_s,
            "tpot_s": self.tpot_s,
            "itl_p99_s": self._gaps.p99_s,
            "itl_max_s": self._gaps.max_s,
            "e2e_s": self.e2e_s,
            "status": Names(codes=self.status, names=STATUS_NAMES),
            "resident_stall_s": _view(turns.stall),
        }
        columns["slo_met"] = metrics.slo_met(Columns(columns), self.status == OK, limits)
        return {name: columns[name] for name in TURN_COLUMNS if name in columns}

    def conversation_id(self, rows: slice) -> NDArray[Any]:
        """Return the ids of the conversations."""
        ids: NDArray[Any] = self._ids[_view(self._turns.conversation)[rows]]
        return ids

    def request_id(self, rows: slice) -> NDArray[np.str_]:
        """Return conversation and turn in one text."""
        pairs = zip(self.conversation_id(rows).tolist(), self._turns.number[rows], strict=True)
        return np.array([f"{conversation}:{number}" for conversation, number in pairs], dtype=np.str_)

    def cached_tokens(self, rows: slice) -> Ints:
        """Return the prompt tokens that were reused: on the decode node, for a hand-off of a whole prompt on P."""
        cached = _view(self._turns.cached)[rows]
        return cached if self._radix else np.where(self._handed[rows], _view(self._turns.prefill_cached)[rows], cached)

    def new_tokens(self, rows: slice) -> Ints:
        """Return the prompt tokens that were not."""
        return _view(self._turns.prompt)[rows] - self.cached_tokens(rows)

    def t_first_token_s(self, rows: slice) -> Floats:
        """Return when the client has the first token."""
        first: Floats = _view(self._turns.t_first)[rows] + self._after_s[self._node[rows]]
        return first + self._answered(rows)

    def t_last_token_s(self, rows: slice) -> Floats:
        """Return when the client has the last token."""
        last: Floats = _view(self._turns.t_last)[rows] + self._after_s[self._node[rows]]
        return last

    def queue_s(self, rows: slice) -> Floats:
        """Return the waits: for pages on D or at the front end, and for the first forward."""
        forward: Floats = _view(self._turns.t_prefill_start)[rows] - _view(self._turns.t_ready)[rows]
        # Rounding must not make a wait negative.
        return np.maximum(self._early_wait_s(rows), 0.0) + forward + self._answered(rows)

    def kv_wait_s(self, rows: slice) -> Floats:
        """Return the part of a hand-off's wait that is for pages on D, not at a capped front end; 0 for an append."""
        wait = np.maximum(self._early_wait_s(rows) - self._held_s[rows], 0.0)
        return np.where(self._handed[rows], wait, 0.0) + self._answered(rows)

    def _early_wait_s(self, rows: slice) -> Floats:
        """Return the time from the arrival at the node until the engine may start, but for rounding."""
        turns, node = self._turns, self._node[rows]
        fixed_s, token_s = self._reach
        reached = _view(turns.t_arrival)[rows] + (fixed_s[node] + token_s[node] * _view(turns.prompt)[rows])
        admitted: Floats = np.where(self._handed[rows], _view(turns.t_admitted)[rows], _view(turns.t_ready)[rows])
        early: Floats = admitted - reached
        return early

    def prefill_s(self, rows: slice) -> Floats:
        """Return the time from the start of the first forward to the end of the last one."""
        prefill: Floats = _view(self._turns.t_prefill_end)[rows] - _view(self._turns.t_prefill_start)[rows]
        return prefill

    def kv_transfer_s(self, rows: slice) -> Floats:
        """Return the time of the KV on the wire; 0 for an append."""
        return np.where(self._handed[rows], _view(self._turns.wire)[rows], 0.0) + self._answered(rows)

    def kv_transfer_exposed_s(self, rows: slice) -> Floats:
        """Return the time from the end of the prefill to the last KV byte; 0 for an append."""
        exposed = _view(self._turns.kv_done)[rows] - _view(self._turns.t_prefill_end)[rows]
        return np.where(self._handed[rows], exposed, 0.0) + self._answered(rows)

    def ttft_s(self, rows: slice) -> Floats:
        """Return TTFT."""
        return metrics.ttft_s(_view(self._turns.t_arrival)[rows], self.t_first_token_s(rows))

    def tpot_s(self, rows: slice) -> Floats:
        """Return TPOT."""
        return metrics.tpot_s(self.t_first_token_s(rows), self.t_last_token_s(rows), _view(self._turns.output)[rows])

    def e2e_s(self, rows: slice) -> Floats:
        """Return E2E."""
        return metrics.e2e_s(_view(self._turns.t_arrival)[rows], self.t_last_token_s(rows))

    def _answered(self, rows: slice) -> Floats:
        """Return 0, or NaN for turns without an answer: added to a column, it empties their rows."""
        return np.where(self.status[rows] == OK, 0.0, np.nan)


def _view(column: array[Any]) -> NDArray[Any]:
    """Return a column without copying it; an empty one has no memory to look at."""
    return np.frombuffer(column, dtype=column.typecode) if column else np.zeros(0, dtype=column.typecode)


def _wide(column: array[int]) -> Spelled:
    """Return a column of small integers as one that a sum over its rows cannot overflow."""
    return lambda rows: _view(column)[rows].astype(np.int64)
