"""What an engine is to ppdsim: its releases, the rules that a profile of it records, and its parts."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from ppdsim.engine_record import EngineRecord

if TYPE_CHECKING:
    from ppdsim.des.scheduler import Scheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a release can do.

    Attributes
    ----------
    disaggregation_decode_enable_radix_cache : bool
        `--disaggregation-decode-enable-radix-cache`: D keeps prefixes and P sends what D lacks.
    disagg_prefill_early_send_cached_prefix : bool
        `SGLANG_DISAGG_PREFILL_EARLY_SEND_CACHED_PREFIX`, on by default: the cached prefix leaves before the forward.
    """

    disaggregation_decode_enable_radix_cache: bool
    disagg_prefill_early_send_cached_prefix: bool


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
    releases : mapping
        What each release can do, by version, oldest first.
    """

    name: ClassVar[str]
    releases: ClassVar[Mapping[str, Release]]

    @abc.abstractmethod
    def record(self, version: str) -> EngineRecord:
        """Return what a profile of a run on this release records."""

    @property
    @abc.abstractmethod
    def memory_rule(self) -> MemoryRule:
        """How it parts a GPU's memory."""

    @abc.abstractmethod
    def scheduler(self) -> Scheduler:
        """Return what the simulator runs of its scheduler."""
