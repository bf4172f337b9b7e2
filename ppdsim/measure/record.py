"""What a run folder remembers beside its rows: when the run began, and on which servers each service was measured.

``run.json`` is written before the first row is measured, so it outlives a run that is killed. A later call compares the
servers that it finds with it: rows of two models, engine releases or settings in one folder would make a profile of
neither. What differs from start to start without a choice of anybody (ports, seeds, the size of a pool that takes what
memory is free) is not compared. Nor is the plan: rows of several plans may lie in one folder, as long as a name of a
load means one load.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from ppdsim.engines import ENGINES
from ppdsim.engines.client import EngineInfo, decoding
from ppdsim.errors import MeasurementError
from ppdsim.files import write_whole
from ppdsim.measure.run_file import RUN, RunFile, read_run

EVERYWHERE = ("dtype", "kv_cache_dtype", "quantization", "tp_size")
"""Flags that all servers of a run have in common; the others are compared server by server."""
MOST_NAMED = 4
"""Differences that a refusal names."""


class RunRecord:
    """The record of one folder; `servers` are those of each service, by role."""

    def __init__(self, folder: Path, *, goes_on: bool = True) -> None:
        """Read a folder's record, or begin one; without rows (`goes_on`) there is nothing to go on with.

        Raises
        ------
        MeasurementError
            If it is malformed.
        """
        self._path = folder / RUN
        found = read_run(folder) if goes_on else RunFile()
        self._started_unix_s = found.started_unix_s
        # An earlier release kept more of what a server said than a measurement depends on.
        self.servers = {
            service: {
                role: replace(info, flags=ENGINES[info.name].kept.flags(info.flags)) for role, info in by_role.items()
            }
            for service, by_role in found.servers.items()
        }
        self.cores = dict(found.cores)
        self.plans = found.plans
        self._loads = dict(found.loads)

    def take_plan(self, name: str, loads: Mapping[str, Mapping[str, object]], *, measured: Collection[str]) -> None:
        """Remember that a plan is measured from now on, and what its loads are by name.

        `measured` are the loads of which there are rows: rows know a load by its name alone.

        Raises
        ------
        MeasurementError
            If one of them is another load in this plan than in the plan of its rows.
        """
        for load, what in loads.items():
            known = self._loads.get(load, what)
            differing = [key for key in sorted({*known, *what}) if known.get(key) != what.get(key)]
            if differing and load in measured:
                key = differing[0]
                raise MeasurementError(
                    f"plan '{name}': its load '{load}' is another one than that of the rows in {self._path.parent}: "
                    f"{key} {_said(known.get(key))}, now {_said(what.get(key))}; give it another name, or another -o"
                )
            self._loads[load] = dict(what)
        self.plans = tuple(dict.fromkeys((*self.plans, name)))

    def note_cores(self, cores: Mapping[str, str]) -> None:
        """Remember on which cores servers and client run."""
        self.cores.update(cores)
        self._write()

    def elapsed_s(self, now_unix_s: float, *, at_least_s: float) -> float:
        """Return how long ago the run began [s], in this call or an earlier one: one time axis for all of its rows.

        Between calls only the machine's wall clock goes on. If it was set back meanwhile, or the folder has no record,
        `at_least_s` holds, the time of the last row: rows stay in order, and the gap between the calls is unknown.
        """
        if self._started_unix_s is None:
            self._started_unix_s = now_unix_s - at_least_s
            self._write()
        return max(at_least_s, now_unix_s - self._started_unix_s)

    def check(self, service: str, found: Mapping[str, EngineInfo]) -> None:
        """Remember the servers of a service by role, or compare them with those of an earlier call.

        Raises
        ------
        MeasurementError
            If rows of the folder were measured on others; the message names what differs, both ways.
        """
        differing = [
            difference
            for known_service, known in self.servers.items()
            for difference in _differences(known_service, known, service, found)
        ]
        if differing:
            more = f" and {len(differing) - MOST_NAMED} more" if len(differing) > MOST_NAMED else ""
            raise MeasurementError(
                f"{self._path.parent}: its rows were measured on other servers: {', '.join(differing[:MOST_NAMED])}"
                f"{more}; start them as before, or give another -o"
            )
        if self.servers.get(service) != found:
            self.servers[service] = dict(found)
            self._write()

    def decoding(self, service: str) -> EngineInfo | None:
        """Return what the server of a service said of itself that decodes; None if it was never up."""
        return decoding(self.servers[service]) if service in self.servers else None

    def _write(self) -> None:
        content = RunFile(
            started_unix_s=self._started_unix_s,
            servers=self.servers,
            cores=self.cores,
            plans=self.plans,
            loads=self._loads,
        )
        write_whole(self._path, content.model_dump_json(by_alias=True, indent=1) + "\n")


def server_name(service: str, role: str) -> str:
    """Return how a server is called in words.

    >>> server_name("unified", "unified"), server_name("hand-offs over tcp", "decode")
    ('unified', 'hand-offs over tcp, decode')
    """
    return service if role == service else f"{service}, {role}"


def _differences(
    known_service: str, known: Mapping[str, EngineInfo], service: str, found: Mapping[str, EngineInfo]
) -> list[str]:
    """Return what tells two services' servers apart that must not: everything if they are one service."""
    if known_service != service:
        # Whichever server decodes stands for its service.
        return _told_apart(service, _identity(decoding(known)), _identity(decoding(found)))
    if known.keys() != found.keys():
        return [f"{service} had {' and '.join(known)}, now {' and '.join(found)}"]
    return [
        difference
        for role, info in found.items()
        for difference in _told_apart(
            server_name(service, role),
            {**_identity(known[role]), **_chosen(known[role])},
            {**_identity(info), **_chosen(info)},
        )
    ]


def _told_apart(where: str, known: Mapping[str, object], found: Mapping[str, object]) -> list[str]:
    return [
        f"{where}: {name} {_said(known.get(name))}, now {_said(found.get(name))}"
        for name in sorted({*known, *found})
        if known.get(name) != found.get(name)
    ]


def _said(value: object) -> str:
    return "not given" if value is None else str(value)


def _identity(info: EngineInfo) -> dict[str, object]:
    known = {"engine": info.name, "version": info.version, "model": info.model}
    return {**known, **{name: info.flags.get(name) for name in EVERYWHERE}}


def _chosen(info: EngineInfo) -> dict[str, object]:
    sizes = {"page_size": info.page_size_tokens, "chunked_prefill_size": info.chunked_prefill_size}
    return {**sizes, **ENGINES[info.name].kept.flags(info.flags)}
