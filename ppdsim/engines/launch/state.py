"""``servers.json``: which processes a folder's servers are, so that another command can end them.

Written as soon as a server starts and removed when all are down, so it is there exactly while something may run,
whatever became of the command that started it. Processes of another boot are none of these, and a pid that another
process has by now is not signalled. No command line and no environment is in the file: they may hold secrets.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppdsim.engines.launch.process import Server
from ppdsim.engines.launch.shutdown import still_held, take_down
from ppdsim.errors import EnvironmentProblem, InputError
from ppdsim.files import write_whole
from ppdsim.machine.process_tree import SERVERS_FILE, Family, Identity
from ppdsim.reading import read_text
from ppdsim.strict import explain

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Started(BaseModel):
    """One started server; `members` are its processes as they were last seen, by pid and start [clock ticks]."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    url: str
    host: str
    ports: tuple[int, ...]
    pid: int
    start_ticks: int
    mark: str
    members: tuple[tuple[int, int], ...] = ()

    def family(self) -> Family:
        """Return its processes."""
        members = (Identity(pid=pid, start_ticks=start_ticks) for pid, start_ticks in self.members)
        return Family(Identity(pid=self.pid, start_ticks=self.start_ticks), self.mark, members)


class State(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_version: Literal["ppdsim/servers/1"] = Field("ppdsim/servers/1", alias="schema")
    boot_id: str
    servers: tuple[Started, ...]


def write(folder: Path, servers: Iterable[Server]) -> None:
    """Write the file of `servers`, or remove it if there are none."""
    started = tuple(
        Started(
            name=server.spec.name,
            url=server.spec.url,
            host=server.spec.host,
            ports=server.spec.held_ports,
            pid=server.family.leader.pid,
            start_ticks=server.family.leader.start_ticks,
            mark=server.mark,
            members=tuple((one.pid, one.start_ticks) for one in server.family.known()),
        )
        for server in servers
    )
    path = folder / SERVERS_FILE
    if not started:
        path.unlink(missing_ok=True)
        return
    write_whole(path, State(boot_id=_boot_id(), servers=started).model_dump_json(by_alias=True, indent=2) + "\n")


def refuse_if_running(folder: Path) -> None:
    """Refuse to start servers where earlier ones still run.

    Raises
    ------
    EnvironmentProblem
        Naming them and how to end them.
    InputError
        If the file cannot be read.
    """
    living = [one.name for one in _read(folder) if one.family().look()] if (folder / SERVERS_FILE).exists() else []
    if living:
        raise EnvironmentProblem(
            f"{folder}: {', '.join(living)} still run; stop them with: ppdsim serve --stop {folder}"
        )


def stop(folder: Path, *, grace_s: float) -> list[Started]:
    """End the servers of a folder and return those that were still running.

    Raises
    ------
    InputError
        If there are none in the folder, or the file cannot be read.
    EnvironmentProblem
        If a process does not go, or a port stays held.
    """
    if not (folder / SERVERS_FILE).exists():
        raise InputError(f"--stop {folder}: no {SERVERS_FILE} there, so ppdsim runs no servers from this folder")
    families = [(one, one.family()) for one in _read(folder)]
    living = [one for one, family in families if family.look()]
    left = take_down([family for _, family in families], grace_s=grace_s)
    held = still_held((one.host, port) for one in living for port in one.ports)
    complain(left, held)
    (folder / SERVERS_FILE).unlink()
    return living


def complain(left: list[int], held: list[int]) -> None:
    """Say what is left after servers were taken down.

    Raises
    ------
    EnvironmentProblem
        If anything is.
    """
    if left:
        raise EnvironmentProblem(
            f"processes that SIGKILL did not end: {', '.join(map(str, left))} (ps -o stat,wchan -p)"
        )
    if held:
        ports = ", ".join(map(str, held))
        raise EnvironmentProblem(f"all servers are down, but ports are still held: {ports} (ss -ltnp says by whom)")


def _read(folder: Path) -> tuple[Started, ...]:
    path = folder / SERVERS_FILE
    text = read_text(path)
    try:
        state = State.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, tuple(Started.model_fields))}") from None
    return state.servers if state.boot_id == _boot_id() else ()


def _boot_id() -> str:
    """Return what tells this boot of the machine from others; empty where the system does not say."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
