"""Routing policies: who prefills a turn, and where it decodes."""

from ppdsim.routing.always import AlwaysD, AlwaysP
from ppdsim.routing.balance import BALANCERS
from ppdsim.routing.base import AbstractPolicy, Decision
from ppdsim.routing.cost_aware import CostAware
from ppdsim.routing.decision_log import DecisionLog
from ppdsim.routing.fleet_model import FleetModel
from ppdsim.routing.registry import ALWAYS_P, ORACLE, POLICIES, POLICY_READS, PolicyContext, build_policy
from ppdsim.routing.threshold import Threshold
from ppdsim.routing.view import NOWHERE, AbstractClusterView, Request

__all__ = [
    "ALWAYS_P", "BALANCERS", "NOWHERE", "ORACLE", "POLICIES", "POLICY_READS", "AbstractClusterView", "AbstractPolicy",
    "AlwaysD", "AlwaysP", "CostAware", "Decision", "DecisionLog", "FleetModel", "PolicyContext", "Request", "Threshold",
    "build_policy",
]  # fmt: skip
