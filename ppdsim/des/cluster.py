"""A fleet at work: wires nodes, links and router, and carries each turn from arrival to last token.

A turn arrives at t0; the policy decides at once. The request reaches its nodes `frontend.before_s` later, and the
client sees each token `frontend.after_s` after the engine emits it. A hand-off: D pre-allocates (FIFO),
`handoff.before_s` later the turn is in P's queue, its KV crosses the link, `handoff.after_s` after the last byte it may
join the batch. The router sends the request to both and reads P's answer to its end before it hands on any token of D
(sglang-router 0.3.2, pd_router.rs process_prefill_response), so tokens that D has by then come together. The next turn
of a conversation arrives its think time after the client has the last token, or, where the workload says when it is
sent, then, whatever became of the turn before. Turns that no pool can ever hold are rejected on arrival, and hand-offs
that wait too long for pages, or for their KV, time out; with either go the turns that would have followed the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ppdsim.des.accounts import activity_of
from ppdsim.des.clock import IN_TURN, Clock, Tick
from ppdsim.des.closed_form_node import ClosedFormNode
from ppdsim.des.decode_node import AbstractDecodeNode
from ppdsim.des.inflight import ConversationCap
from ppdsim.des.itl import TokenGaps
from ppdsim.des.nic import SharedNic
from ppdsim.des.overload import FIRST_LOOK, Overload, look
from ppdsim.des.oversized import refuse
from ppdsim.des.prefill_node import AbstractPrefillNode
from ppdsim.des.recorder import Labels, to_results
from ppdsim.des.router import Router
from ppdsim.des.spec import ClusterSpec, Preload
from ppdsim.des.stepped_node import SteppedNode
from ppdsim.des.timeline import Timeline
from ppdsim.des.transfer_queue import TransferQueue
from ppdsim.des.turns import OK, REJECTED, TIMED_OUT, Turns
from ppdsim.results import Results
from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.decision_log import DecisionLog
from ppdsim.types import Arm, NodeRole
from ppdsim.workload.base import Conversation


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while simulating; `results` has the turns that had ended by then."""

    def __init__(self, results: Results) -> None:
        super().__init__()
        self.results = results


class Cluster:
    """One run. `decode` and `prefill` map node numbers (positions in `spec.nodes`) to nodes."""

    __slots__ = (
        "_after_s",
        "_awaited",
        "_before_s",
        "_client",
        "_frontend",
        "_look_at",
        "_next_start",
        "_open",
        "_roomy",
        "_transfers",
        "_withheld",
        "clock",
        "decode",
        "gaps",
        "overload",
        "prefill",
        "router",
        "spec",
        "turns",
    )

    def __init__(self, spec: ClusterSpec, turns: Turns, policy: AbstractPolicy, log: DecisionLog | None = None) -> None:
        self.spec, self.turns = spec, turns
        # Every turn may cause some ten events, and all turns may come at once.
        self.clock = Clock(limit_per_instant=1_000 + 20 * turns.count)
        final = SteppedNode if spec.per_step else ClosedFormNode
        nics = {node.nic: SharedNic(self.clock) for node in spec.nodes if node.nic is not None}
        told = self._kv_arrived, self._answered
        self.prefill: dict[int, AbstractPrefillNode] = {
            i: spec.scheduler.prefill_node(
                turns, self.clock, spec, i, *told, None if node.nic is None else nics[node.nic]
            )
            for i, node in enumerate(spec.nodes)
            if node.role is NodeRole.P
        }
        self.decode: dict[int, AbstractDecodeNode] = {
            i: final(turns, self.clock, spec, i, self._allocated, self._finished, self._without_pages)
            for i, node in enumerate(spec.nodes)
            if node.role is not NodeRole.P
        }
        self._transfers = TransferQueue(self.clock, spec.disaggregation_waiting_timeout_s, self._without_kv)
        self.gaps = TokenGaps(turns, self.decode)
        self._before_s = [node.model.frontend.before_s for node in spec.nodes]
        self._after_s = [float(node.model.frontend.after_s()) for node in spec.nodes]
        self._roomy = self._every_pool_holds_any_turn()
        self.router = Router(turns, spec, policy, self.prefill, self.decode, log)
        self._client = ConversationCap(spec.client_max_conversations)
        self._frontend = ConversationCap(spec.frontend_max_conversations)
        self._next_start = 0  # conversations start one after the other: each start plans the next
        self._open = turns.count  # turns without an end
        # Hand-offs that P has not answered and the router waits for, and those of them that D is done with.
        self._awaited: set[int] = set()
        self._withheld: set[int] = set()
        self._look_at: float = FIRST_LOOK if spec.stop_when_overloaded else math.inf  # conversations started
        self.overload: Overload | None = None  # why the run was given up

    def run(self) -> None:
        """Run to the last token, or to `until_s`."""
        self._plan_start()
        if self._open:
            self.clock.run(self.spec.until_s)

    def check_integrity(self) -> None:
        """Check the books of every KV pool."""
        for prefill in self.prefill.values():
            prefill.check_integrity()
        for decode in self.decode.values():
            decode.check_integrity()

    def _plan_start(self) -> None:
        turns, number = self.turns, self._next_start
        if number < len(turns.first):
            self._next_start += 1
            turn = turns.first[number]
            self.clock.at(turns.starts_s[number], self._start, turn, turn)

    def _look(self, time: float) -> None:
        """Give the run up if its backlog has outgrown what it has served."""
        self._look_at *= 2
        self.overload = look(self.turns, time)
        if self.overload is not None:
            self.clock.stop()

    def _start(self, tick: Tick) -> None:
        started = self._next_start
        self._plan_start()
        if self._client.admit(tick.arg):
            self._send_first(tick)
        if started >= self._look_at:
            self._look(tick.time)

    def _send_first(self, tick: Tick) -> None:
        """Let the client send a conversation's first turn, which may wait at the front end."""
        self.turns.t_arrival[tick.arg] = tick.time
        if self._frontend.admit(tick.arg):
            self._decide(tick)

    def _let_in(self, tick: Tick) -> None:
        self.turns.held_s[tick.arg] = tick.time - self.turns.t_arrival[tick.arg]
        self._decide(tick)

    def _arrive(self, tick: Tick) -> None:
        self.turns.t_arrival[tick.arg] = tick.time
        self._decide(tick)

    def _arrive_as_sent(self, tick: Tick) -> None:
        """Take a turn that follows no answer; it is late only where its conversation was held at a cap."""
        turns, turn = self.turns, tick.arg
        # What the client has not begun it cannot go on with; what the front end holds has been sent.
        sent_s = turns.t_arrival[turn] = max(turns.sent[turn], turns.t_arrival[turn - 1])
        if sent_s < tick.time:
            turns.held_s[turn] = tick.time - sent_s
        self._decide(tick)

    def _ended(self, time: float) -> None:
        """Let those in whose turn it is after a conversation has ended."""
        for turn, proceed in ((self._frontend.release(), self._let_in), (self._client.release(), self._send_first)):
            if turn is not None:
                self.clock.at(time, proceed, turn, turn)

    def _decide(self, tick: Tick) -> None:
        turns, turn, time = self.turns, tick.arg, tick.time
        if turn in turns.preloads:
            self._preload(turn, turns.preloads[turn], time)
        following_s = turns.next_sent_s(turn)
        if following_s == following_s:  # a number
            self.clock.at(max(following_s, time), self._arrive_as_sent, turn + 1, turn + 1)
        decision = self.router.decide(turn, time)
        arm, prefill, node = decision
        if not self._roomy and not self.can_hold(turn, node, prefill):
            self._reject(turn, time)
            return
        self.router.book(turn, decision, time)
        reach_s = time + float(self._before_s[node](turns.prompt[turn]))
        target = self.decode[node]
        self.clock.at(reach_s, target.append if arm is Arm.APPEND_D else target.request, turn, turn)

    def _preload(self, turn: int, preload: Preload, time: float) -> None:
        decode = self.router.least_loaded()
        node = self.decode[decode]
        if node.keeps_prefixes:
            node.sync(time)
            node.pool.preload(turn, preload.cached_tokens)
            self.router.home[self.turns.conversation[turn]] = decode
        for prefill, machine in self.prefill.items():
            machine.pool.preload(turn, preload.prefill_cached_tokens)
            self.router.last_prefill[self.turns.conversation[turn]] = prefill

    def can_hold(self, turn: int, node: int, prefill: int) -> bool:
        """Return whether the model's context and the empty pools of a route could hold a turn."""
        prompt = self.turns.prompt[turn]
        if self.spec.context_tokens is not None and prompt > self.spec.context_tokens:
            return False
        if not self.decode[node].admission.could_hold(turn):
            return False
        return prefill == node or self.prefill[prefill].pool.pages(prompt) <= self.prefill[prefill].pool.capacity

    def _every_pool_holds_any_turn(self) -> bool:
        """Return whether `can_hold` is true of all turns and nodes, with two pages to spare for what it rounds up."""
        if self.spec.context_tokens is not None and self.turns.longest > self.spec.context_tokens:
            return False
        most = self.turns.longest + self.spec.num_reserved_decode_tokens + self.spec.residents
        pools = [node.pool for node in self.prefill.values()] + [node.pool for node in self.decode.values()]
        return all(pool.pages(most) + 2 <= pool.capacity for pool in pools)

    def _reject(self, turn: int, time: float) -> None:
        """Reject a turn, and with it those that would have followed its answer."""
        self.turns.status[turn] = REJECTED
        self._close(turn, time)
        self._reject_followers(turn, time)

    def _reject_followers(self, turn: int, time: float) -> None:
        turns = self.turns
        while not turns.last[turn] and math.isnan(turns.sent[turn + 1]):
            turn += 1
            turns.status[turn] = REJECTED
            self._close(turn, time)

    def _close(self, turn: int, time: float) -> None:
        """Count a turn as ended; its client knows at `time`."""
        self._open -= 1
        if not self._open:
            # Residents decode for ever, so the run ends with the last turn.
            self.clock.stop()
        left, conversation = self.turns.left, self.turns.conversation[turn]
        left[conversation] -= 1
        if not left[conversation]:
            self._ended(time)

    def _allocated(self, turn: int, time: float) -> None:
        turns = self.turns
        turns.t_admitted[turn] = time
        self._transfers.admitted(turn, time)
        prefill = self.prefill[turns.prefill_node[turn]]
        if self.spec.router_awaits_prefill:
            self._awaited.add(turn)
        handshake_s = prefill.links.handshake_s(prefill.pool.cached_tokens(turn))
        self.clock.at(time + handshake_s, prefill.ready, turn, IN_TURN)

    def _kv_arrived(self, tick: Tick) -> None:
        turn: int = tick.arg
        turns = self.turns
        self.prefill[turns.prefill_node[turn]].landed(turn, tick.time)
        if self._transfers.arrived(turn):
            self.decode[turns.decode_node[turn]].arrive(turn, tick.time)

    def _without_pages(self, turn: int, time: float) -> None:
        """End a hand-off that D has not given its pages in time."""
        self.prefill[self.turns.prefill_node[turn]].backlog.forget(turn)
        self.router.transferred(turn)
        self._timed_out(turn, time)

    def _without_kv(self, turn: int, time: float) -> None:
        """End a hand-off whose KV has not come in time; a P that computes it already does so to the end."""
        turns = self.turns
        turns.status[turn] = TIMED_OUT
        self._awaited.discard(turn)
        self.decode[turns.decode_node[turn]].abandon(turn, time)
        if self.prefill[turns.prefill_node[turn]].drop(turn, time):
            self.router.transferred(turn)
        self._timed_out(turn, time)

    def _answered(self, turn: int, time: float) -> None:
        """Take P's answer: the router hands on what D has given by now."""
        self.router.transferred(turn)
        if turn not in self._awaited:
            return
        self._awaited.remove(turn)
        if self.turns.t_first[turn] < time:
            self.turns.t_first[turn] = time
        if turn in self._withheld:
            self._withheld.discard(turn)
            self._finished(turn, time)

    def _timed_out(self, turn: int, time: float) -> None:
        """End a turn that has waited too long, and with it its conversation."""
        turns = self.turns
        self.router.finished(turn)
        turns.status[turn] = TIMED_OUT
        self._close(turn, time)
        self._reject_followers(turn, time)

    def _finished(self, turn: int, time: float) -> None:
        turns = self.turns
        if turn in self._awaited:
            self._withheld.add(turn)
            self.gaps.withhold(turn)
            return
        turns.t_last[turn] = time
        turns.status[turn] = OK
        if turns.output[turn] > 1:
            self.gaps.ended(turn)
        self.router.finished(turn)
        done_s = time + self._after_s[turns.decode_node[turn]]
        self._close(turn, done_s)
        if not turns.last[turn] and math.isnan(turns.sent[turn + 1]):
            self.clock.at(done_s + turns.think[turn + 1], self._arrive, turn + 1, turn + 1)


def run_cluster(
    spec: ClusterSpec,
    conversations: Iterable[Conversation],
    policy: AbstractPolicy,
    *,
    preloads: Mapping[int | str, Preload] | Preload | None = None,
    labels: Labels | None = None,
    log: DecisionLog | None = None,
    timeline: Timeline | None = None,
    refuse_oversized: bool = False,
) -> Results:
    """Run conversations through a fleet.

    Parameters
    ----------
    preloads : mapping or Preload or None
        KV that first turns find in place, by conversation id, or the same for all.
    labels : Labels or None
        Names and limits that go into the results: run id, seed, SLO, provenance.
    log : DecisionLog or None
        Filled with every decision and what the other arm would have cost.
    timeline : Timeline or None
        Filled with what each node and link did when.
    refuse_oversized : bool
        Refuse a workload with a turn that no node can hold, which is rejected on arrival otherwise.

    Raises
    ------
    ScenarioError
        If the fleet cannot hold its residents, or the workload does not suit it.
    WorkloadError
        If a turn is refused; nothing has been simulated by then.
    Interrupted
        On Ctrl-C.
    """
    turns = Turns(conversations, preloads)
    cluster = Cluster(spec, turns, policy, log)
    if refuse_oversized:
        refuse(cluster)
    if timeline is not None:
        timeline.attach(cluster)
    known = labels or Labels()
    try:
        cluster.run()
    except KeyboardInterrupt:
        raise Interrupted(_results(cluster, known, interrupted=True)) from None
    if cluster.overload is not None:
        known = replace(known, notes=(*known.notes, str(cluster.overload)))
        return _results(cluster, known)
    cluster.check_integrity()
    return _results(cluster, known)


def _results(cluster: Cluster, labels: Labels, *, interrupted: bool = False) -> Results:
    activity = activity_of(cluster)
    return to_results(
        cluster.spec, cluster.turns, cluster.decode, cluster.gaps, activity, labels, interrupted=interrupted
    )
