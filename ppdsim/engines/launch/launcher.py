"""What an engine's folder says of the servers to start: their settings, and what follows from them before they run.

Starting, watching and ending them is the same for every engine (:mod:`ppdsim.engines.launch.stack`), and so is what all
settings have (`Settings`). An engine adds settings of its own; nothing outside its folder reads those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from ppdsim.engines.launch.first_request import HandOffs
from ppdsim.engines.launch.specs import Host, ServerSpec
from ppdsim.machine.host import AbstractMachine
from ppdsim.types import Transport

AUTO = "auto"
"""The setting by which the machine that serves decides."""


Copied = TypeVar("Copied")


class Settings(Protocol):
    """What the settings of every engine have.

    GPUs are taken in groups of `tp`, one server a group. `transport` is ``auto``, or the value of a `Transport`.
    `cpu_pin` is None, ``auto`` or lists of cores, one a server. ``decode_radix`` gives D a prefix cache.
    """

    @property
    def model(self) -> str:
        """Folder of the model, or its name on a hub."""

    @property
    def prefill_gpus(self) -> tuple[int, ...]:
        """GPUs of prefill servers."""

    @property
    def decode_gpus(self) -> tuple[int, ...]:
        """GPUs of decode servers."""

    @property
    def unified_gpus(self) -> tuple[int, ...]:
        """GPUs of unified servers."""

    @property
    def tp(self) -> int:
        """GPUs of a server."""

    @property
    def transport(self) -> str:
        """Link between P and D."""

    @property
    def dummy_weights(self) -> bool:
        """Whether servers make up their weights."""

    @property
    def cpu_pin(self) -> str | None:
        """Cores of each server."""

    @property
    def start_timeout_s(self) -> float:
        """Bound on a server being healthy [s]."""

    @property
    def stop_timeout_s(self) -> float:
        """Time between SIGTERM and SIGKILL [s]."""

    def model_copy(self: Copied, *, update: Mapping[str, Any]) -> Copied:
        """Return settings with other values for some of these keys, and for ``decode_radix``."""


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What servers will allow, as far as it can be known before they run.

    `kv_pool_tokens` is each server's pool, None where it is not known, and `source` says where it comes from.
    `context_tokens` is the longest request, None where nothing bounds it [tokens].
    """

    kv_pool_tokens: int | None
    source: str
    context_tokens: int | None = None
    max_running_requests: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher(Generic[S]):
    """One engine's servers, before they run.

    Attributes
    ----------
    load : callable
        Returns the settings of a file with options over it, and ``key=value`` assignments over both.
    check : callable
        Refuses settings that name no servers or one half of a pair, or flags that cannot work.
    unread : callable
        Returns those of some keys that do not matter for servers of the settings, each with what it is for.
    require_programs : callable
        Refuses settings of which a program is not installed, before anything is started.
    host : callable
        Returns what a machine offers to servers that this process starts (True), or would start on another (False).
    refuse_missing_link : callable
        Refuses a link that hand-offs could not use on a machine.
    transports : callable
        Returns the links between P and D, the fastest first.
    layout : callable
        Returns the servers in the order in which they start, or refuses settings that contradict each other.
    expected : callable
        Returns what the servers will allow, the unified one (True) or those of the pair.
    without_delta : callable
        Returns the line for an engine that gives D no prefix cache (`Host.decode_radix`), as it is installed.
    hand_offs : callable
        Returns seconds [s] and number of the hand-offs that servers have counted; None if none counts any.
    """

    load: Callable[[Path | None, Mapping[str, Any], Sequence[str]], S]
    check: Callable[[S], None]
    unread: Callable[[Iterable[str], S], Mapping[str, str]]
    require_programs: Callable[[S], None]
    host: Callable[[AbstractMachine, bool], Host]
    refuse_missing_link: Callable[[Transport, AbstractMachine], None]
    transports: Callable[[S, Host], tuple[Transport, ...]]
    layout: Callable[[S, Host], tuple[ServerSpec, ...]]
    expected: Callable[[S, Host, bool], Expected]
    without_delta: Callable[[AbstractMachine], str]
    hand_offs: HandOffs
