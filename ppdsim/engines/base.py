"""What an engine is to ppdsim: its releases, the rules that a profile of it records, and its parts."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

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

    @abc.abstractmethod
    def scheduler(self) -> Scheduler:
        """Return what the simulator runs of its scheduler."""
