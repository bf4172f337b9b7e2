"""Which server of this package a process belongs to: for people who find a GPU taken and do not know by whom.

Every server is told its log by a variable, which its processes inherit.

Not modelled: a process whose parents have ended and whose own environment is gone, or may not be read.
"""

from __future__ import annotations

from pathlib import Path

from ppdsim.machine.process_tree import inherited

LOG = "PPDSIM_SERVER_LOG"
"""Variable with the absolute path of a server's log."""
SERVERS_FILE = "servers.json"
"""File beside the logs, there while servers of the folder may run."""


def log_of(pid: int) -> Path | None:
    """Return the log of the server that a process belongs to; None for a process that this package did not start."""
    found = inherited(pid, LOG)
    return None if found is None else Path(found)
