"""Policies by name, and their parameters checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ppdsim.errors import ScenarioError, nearest
from ppdsim.registry import Registry
from ppdsim.routing.always import AlwaysD, AlwaysP
from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.cost_aware import CostAware
from ppdsim.routing.threshold import DEFAULT_TOKENS, Threshold
from ppdsim.turn import TurnModel
from ppdsim.types import Transport

Value: TypeAlias = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyContext:
    """What a policy may need beside its parameters: costs, the transport, and the price of a stalled stream-second."""

    model: TurnModel
    transport: Transport
    gamma: float


PolicyBuilder: TypeAlias = Callable[[Mapping[str, Value], PolicyContext], AbstractPolicy]


def _always_p(parameters: Mapping[str, Value], context: PolicyContext) -> AbstractPolicy:
    del context
    _only(parameters, ())
    return AlwaysP()


def _always_d(parameters: Mapping[str, Value], context: PolicyContext) -> AbstractPolicy:
    del context
    _only(parameters, ())
    return AlwaysD()


def _threshold(parameters: Mapping[str, Value], context: PolicyContext) -> AbstractPolicy:
    del context
    _only(parameters, ("threshold_tokens",))
    tokens = parameters.get("threshold_tokens", DEFAULT_TOKENS)
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
        raise ScenarioError(f"routing.parameters.threshold_tokens: given {tokens!r}, expected a count of tokens from 0")
    return Threshold(threshold_tokens=tokens)


def _cost_aware(parameters: Mapping[str, Value], context: PolicyContext) -> AbstractPolicy:
    _only(parameters, ())
    return CostAware(model=context.model, transport=context.transport, gamma=context.gamma)


def _only(parameters: Mapping[str, Value], valid: tuple[str, ...]) -> None:
    for name in parameters:
        if name not in valid:
            expected = ", ".join(valid) if valid else "none"
            raise ScenarioError(
                f"routing.parameters: unknown parameter '{name}' (valid: {expected}){nearest(name, valid)}"
            )


POLICIES: Registry[PolicyBuilder] = Registry(
    "policy",
    {"always-p": _always_p, "always-d": _always_d, "threshold": _threshold, "cost-aware": _cost_aware},
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
    return POLICIES[name](parameters, context)
