"""How much KV a server of this model on this GPU holds, by the engine's own memory rule.

::

    pool      = (fraction * (memory - context) - weights) / KV bytes of a token, in whole pages

Not modelled: a pool that the server is told to take.
"""

from __future__ import annotations

from ppdsim.derive.machine import Machine, machine_of
from ppdsim.engines import ENGINES
from ppdsim.engines.base import MemoryRule
from ppdsim.errors import InputError
from ppdsim.machine.hardware import known_gpu
from ppdsim.profile import KvPool, Profile
from ppdsim.types import Tag


def pool_of(
    machine: Machine,
    rule: MemoryRule,
    *,
    page_size_tokens: int,
    chunked_prefill_size: int,
    fraction: float | None = None,
) -> KvPool | None:
    """Return how many tokens of KV fit beside the weights, in whole pages, and by which numbers; None if no page does.

    Parameters
    ----------
    fraction : float or None
        The share of memory for weights and KV that the server is told; None: what the engine would choose.
    """
    memory, chosen = machine.gpu.memory_bytes, fraction
    usable = memory - rule.context_bytes
    if chosen is None:
        chosen = rule.fraction(memory, chunked_prefill_size=chunked_prefill_size, tensor_parallel_size=machine.tp)
    free = chosen * usable - machine.held_bytes
    tokens = int(max(free, 0.0) / machine.kv_bytes_per_token) // page_size_tokens * page_size_tokens
    if tokens < page_size_tokens:
        return None
    words = (
        f"{rule.flag} {chosen:g} ({f'{rule.chosen_by} chooses it' if fraction is None else 'given'}) of "
        f"{usable / 1e9:.1f} GB of {machine.gpu.name}, less {machine.held_bytes / 1e9:.1f} GB of "
        f"weights, by {machine.kv_bytes_per_token:.0f} B a token" + (f", on {machine.tp} GPUs" * (machine.tp > 1))
    )
    return KvPool(tokens=tokens, tag=Tag.DERIVED, words=words)


def no_room(machine: Machine) -> InputError:
    """Return the error of a machine on which weights leave no room for KV."""
    return InputError(
        f"{machine.shape.name} ({machine.weights_dtype}) does not fit: {machine.held_bytes / 1e9:.1f} GB of weights a "
        f"GPU, {machine.gpu.name} has {machine.gpu.memory_bytes / 1e9:.0f} GB and the engine needs some for itself; "
        "give more GPUs with --tp"
    )


def with_gpu_pool(profile: Profile) -> Profile:
    """Return a measured profile with what its GPU holds.

    As it is where GPU, matrices or the engine's rule are unknown, or by that rule nothing fits.
    """
    gpu = known_gpu(profile.gpu)
    rule = ENGINES[profile.engine.name].memory_rule if profile.engine.name in ENGINES else None
    if gpu is None or profile.model.matrices is None or rule is None:
        return profile
    pool = pool_of(
        machine_of(profile, gpu),
        rule,
        page_size_tokens=profile.page_size_tokens,
        chunked_prefill_size=profile.chunked_prefill_size,
    )
    if pool is None:
        return profile
    return profile.model_copy(update={"gpu_kv_pool_tokens": pool.tokens, "gpu_kv_pool_rule": pool.words})
