"""What an engine is to ppdsim: its releases, the rules that a profile of it records, and its parts.

A part is a small object that the engine's folder provides. Everybody needs three: a record for profiles, a client for
calibration, a scheduler for simulation. An engine may lack the others: a command that needs one then refuses it. How
steps are formed, who is admitted and what a P machine does when are parts of the scheduler
(:mod:`ppdsim.des.scheduler`); who moves KV is in the record.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ppdsim import extras
from ppdsim.engine_record import EngineRecord
from ppdsim.engines.flags import Flag, FlagValue
from ppdsim.engines.kept import Kept
from ppdsim.errors import InputError

if TYPE_CHECKING:
    from ppdsim.des.scheduler import Scheduler
    from ppdsim.engines.client import AbstractClient, Endpoints, ShowLine
    from ppdsim.engines.doctor.examine import Doctor
    from ppdsim.engines.launch.launcher import Launcher
    from ppdsim.engines.link_alone import LinkAlone
    from ppdsim.engines.records.converted import Records
    from ppdsim.engines.stand_in import StandIn
    from ppdsim.turn import TurnModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a release can do: `lacks` names the engine's flags that it does not have."""

    lacks: frozenset[str] = frozenset()


class Fraction(Protocol):
    """Returns the share of a GPU's memory for weights and KV that an engine takes if it is not told."""

    def __call__(self, memory_bytes: float, *, chunked_prefill_size: int, tensor_parallel_size: int) -> float:
        """Return the share [1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRule:
    """How an engine parts a GPU's memory.

    Attributes
    ----------
    flag : str
        The server's flag for the share of weights and KV.
    chosen_by : str
        Engine and release whose rule `fraction` is.
    context_bytes : float
        What a server holds beside weights, KV and reserve [B].
    fraction : callable
        What the engine takes if it is not told.
    """

    flag: str
    chosen_by: str
    context_bytes: float
    fraction: Fraction


class AbstractEngine(abc.ABC):
    """One engine. What is heavy to import is imported when it is asked for.

    Attributes
    ----------
    name : str
        As profiles and scenarios write it.
    title : str
        As people write it.
    releases : mapping
        What each release can do, by version, oldest first.
    client_libraries : tuple of str
        Modules that its client imports.
    pair_urls : tuple of str
        What a running pair is joined by: ``prefill`` and ``decode``, and ``router`` where requests go through one; the
        client sends both legs itself where they do not. Empty for an engine that has no pairs.
    flags : mapping
        The flags that a scenario may set, by name.
    delta_flag : str
        The flag without which a hand-off sends all that D has already; empty if it never does.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    releases: ClassVar[Mapping[str, Release]]
    client_libraries: ClassVar[tuple[str, ...]] = ()
    pair_urls: ClassVar[tuple[str, ...]] = ()
    flags: ClassVar[Mapping[str, Flag]]
    delta_flag: ClassVar[str]

    @abc.abstractmethod
    def record(self, version: str, server_flags: Iterable[str] = ()) -> EngineRecord:
        """Return what a profile of a run on this release records, with the flags that a manifest has of its servers.

        Raises
        ------
        MeasurementError
            If servers of the run follow different rules.
        """

    @property
    @abc.abstractmethod
    def memory_rule(self) -> MemoryRule:
        """How it parts a GPU's memory."""

    @abc.abstractmethod
    def knobs(self, flags: Mapping[str, FlagValue]) -> dict[str, Any]:
        """Return every engine knob of :class:`~ppdsim.des.spec.ClusterSpec` with these flags."""

    @abc.abstractmethod
    def as_run(self, model: TurnModel, flags: Mapping[str, FlagValue]) -> TurnModel:
        """Return the costs and rules of a machine whose server has these flags."""

    @abc.abstractmethod
    def scheduler(self) -> Scheduler:
        """Return what the simulator runs of its scheduler."""

    @abc.abstractmethod
    def client(self, endpoints: Endpoints, *, show_line: ShowLine | None = None) -> AbstractClient:
        """Return what sends prompts to servers; `show_line` is given a line now and then while one is waited for."""

    def require_client(self) -> None:
        """Say before anything is started that the client cannot work.

        Raises
        ------
        EnvironmentProblem
            If a library is missing.
        """
        for library in self.client_libraries:
            extras.require(library, by="the client of the servers")

    @property
    def kept(self) -> Kept:
        """What a measurement depends on of arguments, environment and packages."""
        return Kept()

    @property
    def launcher(self) -> Launcher[Any]:
        """What starts its servers."""
        raise InputError(f"engine {self.name}: ppdsim does not start its servers; give the URLs of running ones")

    @property
    def doctor(self) -> Doctor:
        """What it needs of a machine."""
        raise InputError(f"engine {self.name}: ppdsim has no checks for it")

    @property
    def link_alone(self) -> LinkAlone | None:
        """What moves its KV, for measuring the link without servers."""
        return None

    @property
    def records(self) -> Records | None:
        """Its recorded files."""
        return None

    @property
    def stand_in(self) -> StandIn:
        """What answers as it does, without a GPU."""
        raise InputError(f"engine {self.name}: ppdsim has no stand-in for it")
