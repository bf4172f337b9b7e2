"""Which keys of the settings matter for which servers: a key that is given and not read is named, or refused.

A settings file may serve several calls, so its unread keys are named; one that is set for this call is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ppdsim.engines.sglang.launcher.settings import Settings, content_of
from ppdsim.errors import InputError

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


def refuse_unread(assignments: Iterable[str], settings: Settings, *, instead: Mapping[str, str]) -> None:
    """Refuse a ``key=value`` of this call that its servers do not read.

    Parameters
    ----------
    assignments : iterable of str
        As given with ``--set``.
    settings : Settings
        What they have become, with everything else.
    instead : mapping
        Keys that the calling command never reads, and what says it there.

    Raises
    ------
    InputError
        Naming the key and what it is for.
    """
    keys = _leaves(content_of(None, assignments))
    for key in keys:
        if key in instead:
            raise InputError(f"--set {key}: not read here, {instead[key]}")
    for key, matters in unread(keys, settings).items():
        raise InputError(f"--set {key}: not read by the servers of this call; for {matters}")


def unread_of_file(path: Path | None, settings: Settings, *, instead: Mapping[str, str]) -> str | None:
    """Return the line that names the keys of a file that this call does not read; None if it reads all."""
    keys = [] if path is None else _leaves(content_of(path, ()))
    found = {**{key: instead[key] for key in keys if key in instead}, **unread(keys, settings)}
    return f"{path}: not read by this call: {', '.join(found)}" if found else None


def _leaves(content: Mapping[str, Any]) -> list[str]:
    """Return the keys, those of the ports one by one."""
    return [
        leaf
        for key, value in content.items()
        for leaf in ([f"{key}.{inner}" for inner in value] if key == "ports" and isinstance(value, dict) else [key])
    ]
