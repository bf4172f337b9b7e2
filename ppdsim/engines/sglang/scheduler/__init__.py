"""SGLang's scheduler as the simulator runs it (0.5.17)."""

from __future__ import annotations

from ppdsim.des.admission import AbstractAdmission
from ppdsim.des.mixed_steps import MixedSteps
from ppdsim.des.node_memory import AbstractNodeMemory
from ppdsim.des.scheduler import Scheduler
from ppdsim.des.separate_forwards import SeparateForwards
from ppdsim.des.spec import APPEND_ROLES, ClusterSpec, NodeSpec
from ppdsim.des.step_former import AbstractStepFormer
from ppdsim.engines.sglang.scheduler.new_token_ratio import NewTokenAdmission
from ppdsim.engines.sglang.scheduler.prefill_loop import PrefillLoop
from ppdsim.engines.sglang.scheduler.reserve import ReserveAdmission
from ppdsim.types import NodeRole

PD_NOTE = "pD nodes (hand-offs and appends on one machine) are not in SGLang up to 0.5.23"


def _admission(node: AbstractNodeMemory, spec: ClusterSpec, role: NodeRole) -> AbstractAdmission:
    return NewTokenAdmission(node, spec) if role is NodeRole.U else ReserveAdmission(node, spec)


def _step_former(node: NodeSpec) -> AbstractStepFormer:
    mixed = node.model.engine.mixes_steps and node.role in APPEND_ROLES
    return MixedSteps(node.model) if mixed else SeparateForwards(node.model)


SCHEDULER = Scheduler(admission=_admission, step_former=_step_former, prefill_node=PrefillLoop, pd_note=PD_NOTE)
