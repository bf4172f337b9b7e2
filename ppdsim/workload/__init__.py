"""Workloads: where conversations come from (see :mod:`ppdsim.workload.base`)."""

from ppdsim.workload.base import BLOCK_TOKENS, AbstractWorkload, Conversation, TurnSpec
from ppdsim.workload.catalogue import TRACES, WORKLOADS, recognise

__all__ = ["BLOCK_TOKENS", "TRACES", "WORKLOADS", "AbstractWorkload", "Conversation", "TurnSpec", "recognise"]
