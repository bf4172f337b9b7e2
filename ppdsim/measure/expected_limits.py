"""What servers will allow, as far as it can be known before anything is measured: for the plan that is printed first.

Servers that run are asked. For servers to start it follows from their settings: a fixed pool, a context length among
the engine's flags or the model's own; a pool that the engine sizes itself is assumed to be the share of the GPU's
memory that the settings give it, less the weights (2 % above what SGLang 0.5.17 took on an H100 with 0.85). The
servers' own answer replaces all of it once they are up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppdsim.engines.client import EngineInfo, Failure, RequestFailed
from ppdsim.engines.sglang.launcher.settings import Settings
from ppdsim.engines.sglang.launcher.specs import Host
from ppdsim.errors import EnvironmentProblem, InputError
from ppdsim.machine.model_config import read_model
from ppdsim.measure.limits import Limits, limits_of
from ppdsim.measure.plan import Plan
from ppdsim.measure.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """Limits, and where they come from, in words."""

    limits: Limits
    source: str


def asked(service: Service, plan: Plan) -> Foreseen:
    """Return what the servers of a service say that run already; nothing if they cannot be reached.

    Raises
    ------
    EnvironmentProblem
        If what answers there is no such server.
    """

    async def ask() -> Mapping[str, EngineInfo]:
        async with service.open() as engine:
            return await engine.servers()

    try:
        return Foreseen(limits=limits_of(plan, asyncio.run(ask())), source="as the servers say")
    except RequestFailed as problem:
        if problem.failure is not Failure.UNREACHABLE:
            raise EnvironmentProblem(f"{service.name}: {problem}") from None
        return Foreseen(limits=_unknown(plan), source="not known, the servers do not answer: assumed to be enough")


def from_settings(service: Service, plan: Plan, settings: Settings, host: Host) -> Foreseen:
    """Return what servers are expected to allow that `settings` will start.

    Raises
    ------
    InputError
        If the model folder cannot be read.
    """
    roles = [settings.unified_flags] if service.unified else [settings.prefill_flags, settings.decode_flags]
    flags = [(*settings.engine_flags, *role) for role in roles]
    contexts = [_number(role, "--context-length") for role in flags]
    if None in contexts:
        contexts.append(read_model(Path(settings.model), dummy_weights=settings.dummy_weights).context_tokens)
    longest = min([plan.longest_context_tokens, *(context for context in contexts if context is not None)])
    pool, source = _pool(service, settings, host)
    limits = Limits(
        kv_pool_tokens=pool,
        context_tokens=longest if pool is None else min(longest, pool),
        max_running_requests=_number(flags[-1], "--max-running-requests"),
        prefill_pool_tokens=None if service.unified else pool,
    )
    return Foreseen(limits=limits, source=source)


def _pool(service: Service, settings: Settings, host: Host) -> tuple[int | None, str]:
    if settings.max_total_tokens is not None:
        return settings.max_total_tokens, "as max_total_tokens sets it"
    gpus = settings.unified_gpus[: settings.tp] if service.unified else (*settings.prefill_gpus, *settings.decode_gpus)
    if not gpus or max(gpus) >= len(host.gpu_memory_bytes):
        return None, "not known before the servers start: assumed to be enough"
    model = read_model(Path(settings.model), dummy_weights=settings.dummy_weights)
    # Embedding and head; a model that ties them has a little more room than this.
    weights_bytes = model.dtype_bytes * (model.matrix_parameters + 2 * model.vocabulary_parameters)
    token_bytes = 2 * model.layers * model.kv_heads * model.head_dim * model.dtype_bytes
    memory_bytes = min(host.gpu_memory_bytes[gpu] for gpu in gpus)
    room_bytes = settings.tp * settings.mem_fraction_static * memory_bytes - weights_bytes
    share = f"{settings.mem_fraction_static:g} of {memory_bytes / 1e9:.0f} GB"
    return max(0, int(room_bytes / token_bytes)), f"assumed: {share} less the weights, until the servers say it"


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


def _unknown(plan: Plan) -> Limits:
    return Limits(kv_pool_tokens=None, context_tokens=plan.longest_context_tokens)
