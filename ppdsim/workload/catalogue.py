"""Every workload by name, and the trace format that a file is in."""

from __future__ import annotations

from pathlib import Path

from ppdsim.errors import WorkloadError
from ppdsim.printable import shortened
from ppdsim.registry import Registry
from ppdsim.workload.agent_sessions import AgentSessions
from ppdsim.workload.azure import AzureTrace
from ppdsim.workload.base import AbstractWorkload
from ppdsim.workload.conversation_file import ConversationFile
from ppdsim.workload.conversations import GeneratedWorkload
from ppdsim.workload.mooncake import MooncakeTrace
from ppdsim.workload.tracefile import AbstractTrace, numbered_lines

WORKLOADS: Registry[type[AbstractWorkload]] = Registry(
    "workload",
    {
        "generated": GeneratedWorkload,
        "mooncake": MooncakeTrace,
        "azure": AzureTrace,
        "conversations": ConversationFile,
        "agent-sessions": AgentSessions,
    },
)
"""Every workload, under the name that a scenario's ``workload.kind`` uses."""

TRACES: Registry[type[AbstractTrace]] = Registry(
    "trace format", {name: entry for name, entry in WORKLOADS.items() if issubclass(entry, AbstractTrace)}
)
"""The workloads among them that are read from a file."""


def recognise(path: Path) -> str:
    """Return the name of the trace format that `path` is in, judged by its first line.

    Raises
    ------
    WorkloadError
        If the file cannot be read, is empty, or looks like none of the formats.
    """
    where, first_line = next(numbered_lines(path))
    for name, trace in TRACES.items():
        if trace.recognises(first_line):
            return name
    raise WorkloadError(
        f"{where}: given {shortened(first_line)}, expected a trace in one of the formats {', '.join(TRACES)} "
        "(docs/reference/traces.md)"
    )
