"""What a router's rule would have chosen: its decisions at the answer's cache rates beside the cheaper arm.

The rule sees an idle pair: D holds the cached tokens, P what the comparison says, the residents decode on D, nobody
waits. Its regret at a cache rate is what the arm it takes costs beyond the cheaper one, by the formula with waits.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import numpy as np

from ppdsim.analytical.arm_comparison import ArmComparison, cached_on_p
from ppdsim.answers import ArmCurve
from ppdsim.cost.base import Array
from ppdsim.crossover.arms import choice_of
from ppdsim.crossover.plan import Plan
from ppdsim.crossover.words import link
from ppdsim.metrics import OVERLOADED
from ppdsim.routing import FleetModel, PolicyContext, build_policy
from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.view import AbstractClusterView, Request
from ppdsim.types import Arm, NodeRole
from ppdsim.units import MS_PER_S

P, D = 0, 1


class IdlePair(AbstractClusterView):
    """One P and one pD at rest but for the residents."""

    __slots__ = ("_arm", "_cached_d", "_cached_p", "_residents", "_residents_tokens", "_turns_per_s")

    def __init__(self, plan: Plan, comparison: ArmComparison, cached_tokens: int) -> None:
        self._arm = comparison.arm
        on_p = cached_on_p(comparison, float(cached_tokens), plan.central.on_p.page_size_tokens)
        self._cached_p, self._cached_d = int(np.asarray(on_p)), cached_tokens
        self._residents = plan.grid.residents
        self._residents_tokens = plan.grid.residents * plan.grid.resident_context_tokens
        self._turns_per_s = plan.grid.turn_rate_per_s

    @property
    def handoff_arm(self) -> Arm:
        """Return the comparison's P arm."""
        return self._arm

    def role(self, node: int) -> NodeRole:
        """Return P or pD."""
        return NodeRole.P if node == P else NodeRole.PD

    def home(self) -> int:
        """Return D, which holds the conversation."""
        return D

    def least_loaded_decode(self) -> int:
        """Return D."""
        return D

    def best_prefill(self) -> int:
        """Return P."""
        return P

    def cached_tokens(self, node: int) -> int:
        """Return what a node has cached of the prompt."""
        return self._cached_p if node == P else self._cached_d

    def streams(self, node: int) -> int:
        """Return the residents on D."""
        return self._residents if node == D else 0

    def context_tokens(self, node: int) -> int:
        """Return the residents' KV."""
        return self._residents_tokens if node == D else 0

    def kv_pool_tokens(self, node: int) -> int:
        """Return a pool without limit: the grid fits."""
        del node
        return sys.maxsize

    def waiting_tokens(self, node: int) -> int:
        """Return 0: nobody waits."""
        del node
        return 0

    def turns_per_s(self, node: int) -> float:
        """Return the grid's rate on D."""
        return self._turns_per_s if node == D else 0.0

    def link_wait_s(self, prefill: int, node: int, wire_s: float) -> float:
        """Return 0: the link is idle."""
        del prefill, node, wire_s
        return 0.0

    def wait_s(self, node: int) -> float:
        """Return 0: nobody waits."""
        del node
        return 0.0


def rule_findings(plan: Plan, curves: Iterable[ArmCurve]) -> tuple[str, ...]:
    """Return a sentence a P arm: where the scenario's rule takes the more expensive arm, and by how much at most."""
    routing = plan.scenario.routing
    asked = plan.grid.previous_output_tokens[0]
    every = list(curves)
    out: list[str] = []
    for comparison in plan.comparisons:
        if comparison.previous_output_tokens != asked:
            continue
        context = PolicyContext(
            fleet=FleetModel(nodes=(plan.central.on_p, plan.central), transport=comparison.transport),
            gamma=plan.grid.gamma,
            itl_budget_s=plan.scenario.slo.itl_max_s,
        )
        policy = build_policy(routing.policy, routing.parameters, context)
        mine = [c for c in every if c.arm == choice_of(comparison) and c.previous_output_tokens == asked]
        regrets = np.array([regret for curve in mine for regret in _regrets_s(plan, policy, comparison, curve, every)])
        out.append(_sentence(routing.policy, link(comparison.arm.value, comparison.transport.value), regrets))
    return tuple(out)


def _sentence(policy: str, over: str, regrets: Array) -> str:
    """Return what a rule's regrets say: infinite where the arm that it takes is overloaded and the other is not."""
    compared, overloaded = regrets[np.isfinite(regrets)], int(np.isposinf(regrets).sum())
    if not len(compared) and not overloaded:
        return f"The policy '{policy}' was not judged over {over}: at every cache rate one of the arms is {OVERLOADED}."
    wrong = int((compared > 0.0).sum())
    worst = f"; that costs up to {MS_PER_S * compared.max():.0f} ms of J" if wrong else ""
    where = "" if len(compared) == len(regrets) else f" at which neither arm is {OVERLOADED}"
    out = (
        f"Over {over}, the policy '{policy}' takes the more expensive arm at {wrong} of the {len(compared)} cache "
        f"rates{where}{worst}"
    )
    return out + (f"; at {overloaded} others it takes an arm that is {OVERLOADED}." if overloaded else ".")


def _regrets_s(
    plan: Plan, policy: AbstractPolicy, comparison: ArmComparison, curve: ArmCurve, curves: list[ArmCurve]
) -> list[float]:
    append = next(c for c in curves if c.arm == choice_of(None) and c.total_tokens == curve.total_tokens)
    append_j = dict(zip(append.cached_tokens, append.j_s, strict=True))
    out: list[float] = []
    for cached, handoff_j in zip(curve.cached_tokens, curve.j_s, strict=True):
        request = Request(conversation_id=0, turn=1, prompt_tokens=curve.total_tokens)
        appends = policy.decide(request, IdlePair(plan, comparison, cached)).arm is Arm.APPEND_D
        taken, other = (append_j[cached], handoff_j) if appends else (handoff_j, append_j[cached])
        only_other = np.isnan(taken) and not np.isnan(other)
        out.append(np.inf if only_other else np.nan if np.isnan(other) else max(taken - other, 0.0))
    return out
