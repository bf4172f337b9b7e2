"""What servers will allow, as far as it follows from their settings.

A fixed pool, a context length among the engine's flags or the model's own; a pool that the engine sizes itself is
assumed to be the share of the GPU's memory that the settings give it, less the weights (2 % above what SGLang 0.5.17
took on an H100 with 0.85).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppdsim.engines.launch.launcher import Expected
from ppdsim.engines.launch.specs import Host
from ppdsim.engines.sglang.launcher.settings import Settings
from ppdsim.errors import InputError
from ppdsim.machine.model_config import read_model


def expected(settings: Settings, host: Host, unified: bool) -> Expected:
    """Return what the servers of `settings` will allow, the unified one or those of the pair.

    Raises
    ------
    InputError
        If the model folder cannot be read, or a flag has no such value.
    """
    roles = [settings.unified_flags] if unified else [settings.prefill_flags, settings.decode_flags]
    flags = [(*settings.engine_flags, *role) for role in roles]
    contexts = [_number(role, "--context-length") for role in flags]
    if None in contexts:
        contexts.append(read_model(Path(settings.model), dummy_weights=settings.dummy_weights).context_tokens)
    pool, source = _pool(settings, host, unified=unified)
    return Expected(
        kv_pool_tokens=pool,
        source=source,
        context_tokens=min((context for context in contexts if context is not None), default=None),
        max_running_requests=_number(flags[-1], "--max-running-requests"),
    )


def _pool(settings: Settings, host: Host, *, unified: bool) -> tuple[int | None, str]:
    if settings.max_total_tokens is not None:
        return settings.max_total_tokens, "as max_total_tokens sets it"
    gpus = settings.unified_gpus[: settings.tp] if unified else (*settings.prefill_gpus, *settings.decode_gpus)
    if not gpus or max(gpus) >= len(host.gpu_memory_bytes):
        return None, "not known before the servers start: assumed to be enough"
    model = read_model(Path(settings.model), dummy_weights=settings.dummy_weights)
    # Embedding and head; a model that ties them has a little more room than this.
    weights_bytes = model.dtype_bytes * (model.matrix_parameters + 2 * model.vocabulary_parameters)
    token_bytes = 2 * model.layers * model.kv_heads * model.head_dim * model.dtype_bytes
    memory_bytes = min(host.gpu_memory_bytes[gpu] for gpu in gpus)
    room_bytes = settings.tp * settings.mem_fraction_static * memory_bytes - weights_bytes
    share = f"{settings.mem_fraction_static:g} of {memory_bytes / 1e9:.0f} GB"
    return max(0, int(room_bytes / token_bytes)), f"assumed: {share} less the weights, until the servers state it"


def _number(flags: Sequence[str], name: str) -> int | None:
    """Return the last value of a flag, ``--name 4096`` or ``--name=4096``.

    Raises
    ------
    InputError
        If it is no whole number.
    """
    found = None
    for place, word in enumerate(flags):
        key, equals, value = word.partition("=")
        if key == name:
            found = value if equals else (flags[place + 1] if place + 1 < len(flags) else "")
    if found is None:
        return None
    if not found.isdecimal():
        raise InputError(f"{name} {found}: expected a whole number, such as {name} 4096")
    return int(found)
