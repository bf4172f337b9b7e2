"""What an engine is to ppdsim: its releases, and the rules that a profile of it records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ppdsim.engine_record import EngineRecord


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One engine.

    Attributes
    ----------
    name : str
        As profiles and scenarios write it.
    releases : mapping
        What each release can do, by version, oldest first.
    record : callable
        Returns what a profile records of a release.
    """

    name: str
    releases: Mapping[str, Release]
    record: Callable[[str], EngineRecord]
