"""Which keys of the settings matter for which servers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ppdsim.engines.sglang.launcher.settings import Settings

NEEDS: Mapping[str, str] = {
    "transport": "pair",
    "ib_device": "pair",
    "decode_radix": "pair",
    "router": "pair",
    "router_program": "pair",
    "router_flags": "pair",
    "prefill_flags": "pair",
    "decode_flags": "pair",
    "unified_flags": "unified",
    "trust_remote_code": "weights",
    "ports.router": "pair",
    "ports.prefill": "pair",
    "ports.decode": "pair",
    "ports.bootstrap": "pair",
    "ports.metrics": "metrics",
    "ports.unified": "unified",
}
"""What a key needs to matter; the others always do."""
WORDS: Mapping[str, str] = {
    "pair": "a pair of P and D: --prefill-gpu with --decode-gpu",
    "unified": "a unified server: --unified-gpu",
    "weights": "real weights: without --dummy-weights",
    "metrics": "a pair behind the real router: router=real",
}


def unread(keys: Iterable[str], settings: Settings) -> dict[str, str]:
    """Return those of `keys` that do not matter for servers of `settings`, each with what it is for.

    >>> unread(["tp", "ports.unified"], Settings(model="m", prefill_gpus=(0,), decode_gpus=(1,)))
    {'ports.unified': 'a unified server: --unified-gpu'}
    """
    here = {
        "pair": bool(settings.prefill_gpus),
        "unified": bool(settings.unified_gpus),
        "weights": not settings.dummy_weights,
        "metrics": bool(settings.prefill_gpus) and settings.router == "real",
    }
    return {key: WORDS[NEEDS[key]] for key in keys if key in NEEDS and not here[NEEDS[key]]}
