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
    decode_radix : bool
        `--disaggregation-decode-enable-radix-cache`: D keeps prefixes and P sends what D lacks.
    early_send_cached_prefix : bool
        `SGLANG_DISAGG_PREFILL_EARLY_SEND_CACHED_PREFIX`, on by default: the cached prefix leaves before the forward.
    """

    decode_radix: bool
    early_send_cached_prefix: bool


_FIRST = EnginePreset(decode_radix=False, early_send_cached_prefix=False)
_RADIX = EnginePreset(decode_radix=True, early_send_cached_prefix=False)
_EARLY = EnginePreset(decode_radix=True, early_send_cached_prefix=True)

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
