"""Workloads: where conversations come from (see :mod:`ppdsim.workload.base`)."""

from ppdsim.workload.base import BLOCK_TOKENS, AbstractWorkload, Conversation, Conversations, TurnSpec
from ppdsim.workload.catalogue import TRACES, WORKLOADS, recognise
from ppdsim.workload.rate import rate_per_s

__all__ = [
    "BLOCK_TOKENS",
    "TRACES",
    "WORKLOADS",
    "AbstractWorkload",
    "Conversation",
    "Conversations",
    "TurnSpec",
    "rate_per_s",
    "recognise",
]
