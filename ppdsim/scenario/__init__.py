"""Scenarios: one YAML file that says everything a run needs (see :mod:`ppdsim.scenario.schema`)."""

from ppdsim.scenario.load import json_schema, load, refuse_replaced
from ppdsim.scenario.schema import ArmChoice, CrossoverGrid, EngineBlock, NodeGroup, Routing, Scenario, Slo
from ppdsim.scenario.workloads import GeneratedSpec, TraceSpec

__all__ = [
    "ArmChoice",
    "CrossoverGrid",
    "EngineBlock",
    "GeneratedSpec",
    "NodeGroup",
    "Routing",
    "Scenario",
    "Slo",
    "TraceSpec",
    "json_schema",
    "load",
    "refuse_replaced",
]
