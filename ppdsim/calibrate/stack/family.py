"""A server's processes, however they were started: found in /proc, so that none is missed when it is taken down.

A process belongs to a server if it is in a session that the server opened, descends from one that does, or carries the
server's mark in its environment. The sessions and descendants are remembered from look to look, so a child that opens a
session of its own, or whose parent ends, stays known. A process is told by pid and start time: a reused pid is another
process.

What it does not know: without /proc (not Linux) only the server's process group is taken down. A process that leaves
session and parents between two looks and also wipes its environment is missed; none of the engine's does.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "PPDSIM_SERVER"
"""Variable that every process of a server inherits, and of a link's two ends; its value is the server's own."""
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


class Family:
    """The processes of one server; `leader` opened their session."""

    def __init__(self, leader: Identity, mark: str) -> None:
        self.leader = leader
        self._mark = f"{MARK}={mark}".encode()
        self._members = {leader}
        self._sessions = {leader.pid}
        self._strangers: set[Identity] = set()

    def look(self) -> list[int]:
        """Return the pids of the processes that live now; one that has ended and only waits to be reaped does not."""
        rows = _table()
        if not rows:
            return [self.leader.pid] if _group_exists(self.leader.pid) else []
        grown = True
        while grown:
            new = {row.identity for row in rows.values() if row.identity not in self._members and self._owns(row, rows)}
            self._members |= new
            self._sessions |= {one.pid for one in new if rows[one.pid].session == one.pid}
            grown = bool(new)
        # Their environment was read and has no mark; it need not be read again.
        self._strangers = {row.identity for row in rows.values()} - self._members
        return sorted(one.pid for one in self._members if _living(one, rows))

    def signal(self, number: int) -> None:
        """Send a signal to the process group, and to each process outside of it."""
        living = self.look()
        group = [pid for pid in living if _group(pid) == self.leader.pid]
        if group:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.leader.pid, number)
        for pid in living:
            if pid not in group:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)

    def _owns(self, row: _Row, rows: dict[int, _Row]) -> bool:
        # While a session has a member its number is nobody else's pid; if it is, the session has ended.
        opener = rows.get(row.session)
        if row.session in self._sessions and (opener is None or opener.identity in self._members):
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


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


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
