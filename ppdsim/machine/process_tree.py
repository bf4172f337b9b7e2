"""A server's processes, however they were started: found in /proc, so that none is missed when it is taken down.

A process belongs to a server if another of the server's is in the same session, if its parent is one of the server's,
or if it carries the server's mark in its environment: the leader opens a session, and who descends from it is in that
one or opens another. Members are remembered from look to look, so a child that opens a session of its own, or whose
parent ends, stays known. A process is told by pid and start time: a reused pid is another process, and no signal
reaches it. The number of a session is trusted while a known process is in it; after that a stranger may have it.

Not modelled: without /proc (not Linux) only the server's process group is taken down. A process that leaves session and
parents between two looks and also wipes its environment is missed; none of the engine's does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "PPDSIM_SERVER"
"""Variable that every process of a server inherits, and of a link's two ends; its value is the server's own."""
LOG = "PPDSIM_SERVER_LOG"
"""Variable with the absolute path of a server's log, which its processes inherit."""
SERVERS_FILE = "servers.json"
"""File beside the logs, there while servers of the folder may run."""
PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Identity:
    """One process, never another one: its pid, and when it started [clock ticks since boot]."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    identity: Identity
    parent: int
    session: int
    zombie: bool


def identity_of(pid: int) -> Identity:
    """Return the identity of a running process; without /proc its start is unknown and 0."""
    row = _row(pid)
    return Identity(pid=pid, start_ticks=0) if row is None else row.identity


def carries_mark(pid: int) -> bool:
    """Return whether a process is of a server or a link's end that this package started, in this call or another."""
    return inherited(pid, MARK) is not None


def is_ending(pid: int) -> bool:
    """Return whether a process of this machine has given its memory back and only waits to be gone."""
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[0]) == 0
    except OSError:
        return False


def inherited(pid: int, name: str) -> str | None:
    """Return the value of a variable in a process's environment, or else in that of a parent; None without one.

    A program that gives itself a title writes it over its environment, as the engine's schedulers do.
    """
    prefix = f"{name}=".encode()
    # Only the line of parents is read: while a run measures, this is asked for every process on a GPU once a second.
    row = _row(pid)
    while row is not None:
        for variable in _variables(row.identity.pid):
            if variable.startswith(prefix):
                return variable[len(prefix) :].decode(errors="replace")
        row = _row(row.parent)
    return None


def log_of(pid: int) -> Path | None:
    """Return the log of the server that a process belongs to, for people who find a GPU taken; None for a stranger.

    A process whose parents have ended and whose own environment is gone, or may not be read, is taken for one.
    """
    found = inherited(pid, LOG)
    return None if found is None else Path(found)


class Family:
    """The processes of one server; `leader` opened their session, `members` are others that were known earlier."""

    def __init__(self, leader: Identity, mark: str, members: Iterable[Identity] = ()) -> None:
        self.leader = leader
        self._mark = f"{MARK}={mark}".encode()
        self._members = {leader, *members}
        self._strangers: set[Identity] = set()

    def known(self) -> list[Identity]:
        """Return the processes that lived at the last look, the leader among them whether it lives or not."""
        return sorted(self._members)

    def look(self) -> list[int]:
        """Return the pids of the processes that live now; one that has ended and only waits to be reaped does not."""
        rows = _table()
        if not rows:
            return [self.leader.pid] if _group_exists(self.leader.pid) else []
        self._members &= {row.identity for row in rows.values()} | {self.leader}
        grown = True
        while grown:
            sessions = self._sessions(rows)
            new = {
                row.identity
                for row in rows.values()
                if row.identity not in self._members and self._owns(row, rows, sessions)
            }
            self._members |= new
            grown = bool(new)
        # Their environment was read and has no mark; it need not be read again.
        self._strangers = {row.identity for row in rows.values()} - self._members
        return sorted(one.pid for one in self._members if _living(one, rows))

    def signal(self, number: int) -> None:
        """Send a signal to each process."""
        living = set(self.look())
        if not PROC.is_dir():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.leader.pid, number)
            return
        for one in self.known():
            if one.pid in living:
                _send(one, number)

    def _sessions(self, rows: dict[int, _Row]) -> set[int]:
        """Return the sessions that a process of the server is in now: while it is, their numbers are nobody else's."""
        held = {row.session for row in rows.values() if row.identity in self._members}
        return {number for number in held if number not in rows or rows[number].identity in self._members}

    def _owns(self, row: _Row, rows: dict[int, _Row], sessions: set[int]) -> bool:
        if row.session in sessions:
            return True
        parent = rows.get(row.parent)
        if parent is not None and parent.identity in self._members:
            return True
        return row.identity not in self._strangers and self._mark in _variables(row.identity.pid)


def _variables(pid: int) -> list[bytes]:
    """Return the environment of a process as it was started; nothing if it has ended, or is somebody else's."""
    try:
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _living(one: Identity, rows: dict[int, _Row]) -> bool:
    row = rows.get(one.pid)
    return row is not None and row.identity == one and not row.zombie


def _send(one: Identity, number: int) -> None:
    """Send a signal to a process, and to no other that has its pid by then."""
    try:
        held = os.pidfd_open(one.pid)
    except ProcessLookupError:
        return
    except OSError:
        # A kernel before 5.3, or a sandbox: between look and signal the pid could be given away.
        held = None
    try:
        if identity_of(one.pid) == one:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(one.pid, number) if held is None else signal.pidfd_send_signal(held, number)
    finally:
        if held is not None:
            os.close(held)


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _table() -> dict[int, _Row]:
    if not PROC.is_dir():
        return {}
    rows = (_row(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdecimal())
    return {row.identity.pid: row for row in rows if row is not None}


def _row(pid: int) -> _Row | None:
    """Read /proc/<pid>/stat (proc(5)); None where there is no such process."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The program's name stands in brackets and may hold anything.
    words = text[text.rindex(")") + 2 :].split()
    return _Row(
        identity=Identity(pid=pid, start_ticks=int(words[19])),
        parent=int(words[1]),
        session=int(words[3]),
        # Of a process with threads, the first one may have ended and the others not; then it holds everything still.
        zombie=words[0] in "ZX" and int(words[17]) <= 1,
    )
