"""What SGLang keeps back of a GPU's memory before weights and KV (server_args.py, 0.5.17).

::

    reserve   = 512 + 1.5 max(chunk, 2048) + 128 t + 2 b + 8 p   [MiB], at least 10,240 on a GPU above 60 GiB
    fraction  = round((memory - reserve) / memory, 3)            --mem-fraction-static, unless given

with b the largest captured decode batch and p the number of captured prefill sizes, both set by the GPU's memory, the
chunk and the number t of GPUs. The rule is that of a unified server; P and D alone reserve less, by up to 3 % of the
memory. It gives the fraction 0.903 that servers on an H200 chose (calibration/measurements/h200x1...).

Not modelled: --max-total-tokens, speculative decoding, multimodal and DP-attention reserves.
"""

from __future__ import annotations

from ppdsim.engines.base import MemoryRule
from ppdsim.engines.sglang.releases import prefill_graph_sizes_tokens

MIB = 2**20
CONTEXT_BYTES = 1.32e9
"""What a server holds of a GPU beside weights, KV and reserve [B]: the driver, the CUDA context, the engine's buffers.

An H100 of 81,559 MiB held 423,488 tokens of Llama-3.1-8B at a fraction of 0.85 (calibration/measurements/h100x2...).
"""
META_MIB = 512.0
"""Metadata and slack that SGLang reserves [MiB]."""
ACTIVATION_MIB_PER_TOKEN = 1.5
"""What SGLang reserves for the activations of a token of a chunk [MiB]."""
LEAST_ACTIVATION_TOKENS = 2048
"""Tokens whose activations SGLang reserves at least [tokens]."""
PARALLEL_MIB_PER_GPU = 128.0
"""What SGLang reserves for each GPU of a server [MiB]: 1,024 for eight."""
DECODE_GRAPH_MIB = 2.0
"""What SGLang reserves for each stream of its largest decode graph [MiB]."""
PREFILL_GRAPH_MIB = 8.0
"""What SGLang reserves for each captured prefill size [MiB]."""
LARGE_GPU_MIB = 60 * 1024
"""Memory above which SGLang reserves `LARGE_GPU_RESERVE_MIB` at least [MiB]."""
LARGE_GPU_RESERVE_MIB = 10 * 1024.0
"""See above [MiB]."""
DECODE_GRAPHS: tuple[tuple[float, int, int], ...] = (
    (20 * 1024, 8, 8),
    (35 * 1024, 24, 80),
    (60 * 1024, 32, 160),
    (160 * 1024, 256, 512),
)
"""Largest decode graph of SGLang [streams] by memory below [MiB]: with fewer than 4 GPUs, and with 4 or more."""
LARGEST_DECODE_GRAPH = 512
"""The same of a larger GPU [streams]."""


def mem_fraction_static(memory_bytes: float, *, chunked_prefill_size: int, tensor_parallel_size: int) -> float:
    """Return the share of a GPU's memory that SGLang gives to weights and KV if it is not told.

    >>> mem_fraction_static(143_771 * 2**20, chunked_prefill_size=8192, tensor_parallel_size=1)  # an H200
    0.903
    """
    memory_mib = memory_bytes / MIB
    reserve_mib = (
        META_MIB
        + ACTIVATION_MIB_PER_TOKEN * max(chunked_prefill_size, LEAST_ACTIVATION_TOKENS)
        + PARALLEL_MIB_PER_GPU * tensor_parallel_size
        + DECODE_GRAPH_MIB * _decode_graph(memory_mib, tensor_parallel_size)
        + PREFILL_GRAPH_MIB * len(prefill_graph_sizes_tokens(chunked_prefill_size))
    )
    if memory_mib > LARGE_GPU_MIB:
        reserve_mib = max(reserve_mib, LARGE_GPU_RESERVE_MIB)
    return round(max(memory_mib - reserve_mib, 0.0) / memory_mib, 3)


def _decode_graph(memory_mib: float, tensor_parallel_size: int) -> int:
    for below_mib, few, many in DECODE_GRAPHS:
        if memory_mib < below_mib:
            return few if tensor_parallel_size < 4 else many
    return LARGEST_DECODE_GRAPH


MEMORY_RULE = MemoryRule(
    flag="mem_fraction_static",
    chosen_by="SGLang 0.5.17",
    context_bytes=CONTEXT_BYTES,
    fraction=mem_fraction_static,
)
