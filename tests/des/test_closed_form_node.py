"""What only the closed form has: a base that lies in the future. That its times are right: test_oracle."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from des.costs import cost_model, fleet, talk
from des.scenes import scenes
from des.test_oracle import common
from hypothesis import given

from ppdsim.des.closed_form_node import ClosedFormNode
from ppdsim.des.cluster import Cluster
from ppdsim.des.turns import Turns
from ppdsim.routing import AlwaysP
from ppdsim.routing.base import AbstractPolicy, Decision
from ppdsim.routing.view import AbstractClusterView, Request
from ppdsim.types import NodeRole

STEP_S = 2.0**-8
BESIDE_A_RESIDENT = fleet(
    "P D",
    cost_model(decode={"floor_s": STEP_S, "row_s": 0.0, "context_s_per_token": 0.0}),
    residents=1,
    resident_context_tokens=16,
)


@dataclass(frozen=True)
class Watching(AbstractPolicy):
    """Decides as another policy does, and notes the streams that it is told of."""

    inner: AbstractPolicy
    nodes: tuple[int, ...]
    seen: list[list[int]]

    def decide(self, request: Request, view: AbstractClusterView) -> Decision:
        self.seen.append([view.streams(node) for node in self.nodes])
        return self.inner.decide(request, view)

    def appends(self, request: Request, view: AbstractClusterView, node: int, prefill: int) -> bool:
        return self.inner.appends(request, view, node, prefill)


def watched(spec, conversations, policy) -> tuple[Cluster, list[list[int]]]:
    nodes = tuple(i for i, node in enumerate(spec.nodes) if node.role is not NodeRole.P)
    seen: list[list[int]] = []
    cluster = Cluster(spec, Turns(conversations), Watching(policy, nodes, seen))
    cluster.run()
    return cluster, seen


@common(100)
@given(scenes())
def test_a_policy_is_told_of_the_same_streams_both_ways(scene):
    spec, conversations, policy = scene
    _, jumped = watched(spec, conversations, policy)
    _, stepped = watched(replace(spec, per_step=True), conversations, policy)
    assert jumped == stepped


@pytest.mark.parametrize(("steps_later", "streams"), [(-0.5, 1), (0.5, 1), (1.5, 2)])
def test_who_joins_is_a_stream_when_the_step_that_runs_has_ended(steps_later, streams):
    """The node has A enter as it joins, one step before it is in the batch; B's decision falls beside that."""
    joined_s = watched(BESIDE_A_RESIDENT, [talk("a", 0.0, (64, 10))], AlwaysP())[0].turns.t_first[0]
    talks = [talk("a", 0.0, (64, 10)), talk("b", joined_s + steps_later * STEP_S, (64, 1))]
    _, seen = watched(BESIDE_A_RESIDENT, talks, AlwaysP())
    assert seen == [[1], [streams]]


def test_a_handoff_beside_streams_takes_three_boundaries(monkeypatch):
    """One to get its pages, one to join, one to leave: that it enters a step after it has joined is none of its own."""
    handled, boundary = [], ClosedFormNode._boundary

    def note(self, done):
        handled.append(self.unit)
        boundary(self, done)

    monkeypatch.setattr(ClosedFormNode, "_boundary", note)
    watched(BESIDE_A_RESIDENT, [talk("a", 0.0, (64, 10))], AlwaysP())
    assert len(handled) == 3
    # The second token comes two steps after the first, and eight more after it.
    assert handled[2] - handled[1] == 10


def test_what_comes_before_a_boundary_ahead_is_handled_there():
    """B's KV arrives in the step after A has joined: it joins at the boundary at which A enters, not one later."""
    spec = replace(BESIDE_A_RESIDENT, nodes=(BESIDE_A_RESIDENT.nodes[0], *BESIDE_A_RESIDENT.nodes))
    a = talk("a", 0.0, (64, 10))
    joined_s = watched(spec, [a], AlwaysP())[0].turns.t_first[0]
    cluster, _ = watched(spec, [a, talk("b", 0.5 * STEP_S, (64, 10))], AlwaysP())
    assert cluster.turns.t_first.tolist() == pytest.approx([joined_s, joined_s + STEP_S], rel=1e-12)
