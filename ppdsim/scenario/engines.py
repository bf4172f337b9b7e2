"""Engine presets: which of the simulator's switches an SGLang release has.

A switch is on from the release in which it first appeared, with the mooncake transfer engine. Chunked KV send, the
overlap schedule, D's pre-allocation and retraction are in all of them, so they are no part of a preset. Source: the
wheels of these releases (`disaggregation/prefill.py`, `disaggregation/decode.py`, `server_args.py`). What it does not
know: which kernels a release has; their cost is the profile's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePreset:
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


def _preset(*, radix: bool, early: bool) -> EnginePreset:
    return EnginePreset(disaggregation_decode_enable_radix_cache=radix, disagg_prefill_early_send_cached_prefix=early)


_FIRST = _preset(radix=False, early=False)
_RADIX = _preset(radix=True, early=False)
_EARLY = _preset(radix=True, early=True)

ENGINES: dict[str, EnginePreset] = {
    "sglang-0.5.5.post3": _FIRST,
    "sglang-0.5.9": _FIRST,
    "sglang-0.5.10": _FIRST,
    "sglang-0.5.11": _FIRST,  # nixl only
    "sglang-0.5.12": _RADIX,
    "sglang-0.5.13": _RADIX,
    "sglang-0.5.14": _RADIX,
    "sglang-0.5.15": _EARLY,
    "sglang-0.5.16": _EARLY,
    "sglang-0.5.17": _EARLY,
}
"""Releases by name, oldest first."""
