"""Policies by name, and their parameters checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ppdsim.errors import ScenarioError
from ppdsim.registry import Registry
from ppdsim.routing.always import AlwaysD, AlwaysP
from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.cost_aware import CostAware
from ppdsim.routing.dynamo import EFF_ISL_RATIO_THRESHOLD, EFF_ISL_THRESHOLD, Dynamo, Rule
from ppdsim.routing.fleet_model import FleetModel
from ppdsim.routing.oracle import Oracle
from ppdsim.routing.parameters import Reader, Value
from ppdsim.routing.ppd import Ppd
from ppdsim.routing.slo_aware import ITL_BUDGET_S, SloAware
from ppdsim.routing.threshold import (
    DEFAULT_TOKENS,
    LLM_D_TOKENS,
    TENSORRT_LLM_TOKENS,
    VLLM_PULL_TOKENS,
    Threshold,
)
from ppdsim.units import MS_PER_S

ALWAYS_P = "always-p"
ORACLE = "oracle"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyContext:
    """What a policy may need beside its parameters.

    Attributes
    ----------
    gamma : float
        Price of a stalled stream-second, in seconds of TTFT.
    itl_budget_s : float or None
        The scenario's longest inter-token gap, if it has one [s].
    plan : frozenset or None
        The turns that the oracle appends, as (conversation id, turn), once a comparison knows them.
    """

    fleet: FleetModel
    gamma: float
    itl_budget_s: float | None = None
    plan: frozenset[tuple[str, int]] | None = None


PolicyBuilder: TypeAlias = Callable[[Reader, PolicyContext], AbstractPolicy]


def _llm_d(read: Reader, context: PolicyContext) -> AbstractPolicy:
    del context
    tokens = read.tokens("nonCachedTokens", LLM_D_TOKENS)
    return Threshold(threshold_tokens=tokens) if tokens else AlwaysD()  # 0 turns handing over off


def _tensorrt_llm(read: Reader, context: PolicyContext) -> AbstractPolicy:
    del context
    longest = read.tokens("max_local_prefill_length", TENSORRT_LLM_TOKENS)
    return Threshold(threshold_tokens=longest + 1)


def _dynamo(read: Reader, context: PolicyContext) -> AbstractPolicy:
    return Dynamo(
        fleet=context.fleet,
        rule=Rule(read.choice("policy", [rule.value for rule in Rule])),
        eff_isl_threshold=read.tokens("eff_isl_threshold", EFF_ISL_THRESHOLD),
        eff_isl_ratio_threshold=read.number("eff_isl_ratio_threshold", EFF_ISL_RATIO_THRESHOLD, at_most=1.0),
        prefill_busy_threshold=read.optional("prefill_busy_threshold"),
        decode_busy_threshold=read.optional("decode_busy_threshold"),
    )


def _ppd(read: Reader, context: PolicyContext) -> AbstractPolicy:
    return Ppd(
        fleet=context.fleet,
        bypass_threshold_tokens=read.tokens("bypass_threshold_tokens", DEFAULT_TOKENS),
        w_ttft=read.number("w_ttft", 1.0),
        w_tpot=read.number("w_tpot", 1.0),
    )


def _slo_aware(read: Reader, context: PolicyContext) -> AbstractPolicy:
    budget_s = ITL_BUDGET_S if context.itl_budget_s is None else context.itl_budget_s
    return SloAware(
        fleet=context.fleet,
        itl_budget_s=read.number("itl_budget_ms", budget_s * MS_PER_S) / MS_PER_S,
    )


def _oracle(read: Reader, context: PolicyContext) -> AbstractPolicy:
    del read
    if context.plan is None:
        raise ScenarioError(
            f"policy '{ORACLE}' replays what a comparison found in hindsight; try ppdsim simulate SCENARIO --policy all"
        )
    return Oracle(plan=context.plan)


POLICIES: Registry[PolicyBuilder] = Registry(
    "policy",
    {
        ALWAYS_P: lambda read, context: AlwaysP(),
        "always-d": lambda read, context: AlwaysD(),
        "threshold": lambda read, context: Threshold(threshold_tokens=read.tokens("threshold_tokens", DEFAULT_TOKENS)),
        "llm-d": _llm_d,
        "vllm-pull": lambda read, context: Threshold(
            threshold_tokens=read.tokens("kv_recompute_threshold", VLLM_PULL_TOKENS)
        ),
        "tensorrt-llm": _tensorrt_llm,
        "dynamo": _dynamo,
        "ppd": _ppd,
        "cost-aware": lambda read, context: CostAware(fleet=context.fleet, gamma=context.gamma),
        "slo-aware": _slo_aware,
        ORACLE: _oracle,
    },
)


def build_policy(name: str, parameters: Mapping[str, Value], context: PolicyContext) -> AbstractPolicy:
    """Return a policy by name.

    Raises
    ------
    UnknownNameError
        If there is no such policy.
    ScenarioError
        If a parameter is unknown or malformed.
    """
    read = Reader(parameters)
    policy = POLICIES[name](read, context)
    read.end()
    return policy


POLICY_READS: Mapping[str, frozenset[str]] = {
    "cost-aware": frozenset({"gamma"}),
    "slo-aware": frozenset({"itl_budget_s"}),
}
"""What a policy reads of its context beside the fleet and the oracle's plan, by name; the others read nothing of it."""
