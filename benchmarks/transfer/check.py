"""What a check of a transfer is, and what checks share: shares that tables show, the law of reading, regimes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from transfer import tables

from ppdsim.cost.base import Array
from ppdsim.derive.terms import Reached
from ppdsim.machine.hardware import Gpu, gpus
from ppdsim.metrics import median

COMPUTE_TOKENS = 512
"""From here on a product is bound by compute on every GPU of the tables [tokens]."""
MEMORY_TOKENS = 64
"""Up to here a product is bound by reading its weights [tokens]."""
ROW_TOKENS = 128
"""Rows up to which a product still waits for its weights on every GPU of the tables [tokens]."""
SHORT_TOKENS = 4
"""A context that takes no time to read [tokens]."""
ATTENTION_ROWS = 64
"""Streams from which on the blocks of a decode step's attention outnumber what runs at once [streams]."""
LARGE_BYTES = 100e6
"""Matrices whose reading takes longer than anything beside it [B]."""
BF16_BYTES = 2.0
LLAMA_2_70B_PARAMETERS = 80 * (2 * 8192 * 8192 + 2 * 8192 * 1024 + 3 * 8192 * 28672) + 8192 * 32000
"""Parameters that a step reads [1]: 80 layers, hidden 8192, inner 28672, 8 KV heads of 128; its config.json."""
LAYER_7B_PARAMETERS = 4 * 4096 * 4096 + 3 * 4096 * 11008
"""Parameters of a Llama-2-7B layer [1]; its config.json."""
LAYER_8B_PARAMETERS = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336
"""Parameters of a Llama-3.1-8B layer [1]; its config.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Predicted and measured seconds of one transfer, quantity and table."""

    transfer: str
    quantity: str
    what: str
    predicted_s: Array
    measured_s: Array
    counted: bool = True

    @property
    def log_error(self) -> Array:
        """Natural logarithm of predicted over measured."""
        return np.log(self.predicted_s / self.measured_s)


def reached(folder: Path) -> Reached:
    """Return the shares that tables show: large matrices at few tokens, large messages, one more row."""
    known, table = gpus(), tables.gemm(folder)
    large = table[(table["m"] <= MEMORY_TOKENS / 4) & (table["n"] * table["k"] * BF16_BYTES >= LARGE_BYTES)]
    bandwidth = large["gpu"].map({name: gpu.memory_bandwidth_bytes_per_s for name, gpu in known.items()})
    memory = large["n"] * large["k"] * BF16_BYTES / large["seconds"] / bandwidth
    size, seconds = tables.messages(folder)
    top = size > 0.5 * size.max()
    link = median(size[top] / seconds[top]) / known["H100-SXM"].peer.bandwidth_bytes_per_s
    rows = [
        row_s(part.groupby("m")["seconds"].agg(median)) * known[gpu].bf16_flops_per_s / (2.0 * n * k)
        for gpu, n, k in table[["gpu", "n", "k"]].drop_duplicates().itertuples(index=False)
        for part in [table[(table["gpu"] == gpu) & (table["n"] == n) & (table["k"] == k)]]
    ]
    return Reached(memory_share=median(memory), link_share=float(link), row_share=median(rows))


def row_s(seconds: pd.Series[float]) -> float:
    """Return how much longer a product takes for one more row, from few rows to `ROW_TOKENS` [s]; indexed by rows."""
    few = seconds[seconds.index <= MEMORY_TOKENS / 4]
    return float((seconds[ROW_TOKENS] - median(few)) / (ROW_TOKENS - median(few.index)))


def moved_reads(seconds: Array, read: Array, read_there: Array) -> Array:
    """Return the law of a step's floor: what is beside the reading stays, the reading changes."""
    return np.asarray(np.maximum(seconds - read, 0.0) + read_there)


def reads(gpu: Gpu, size_bytes: Array, share: Reached) -> Array:
    """Return the seconds that a GPU reads `size_bytes` of weights [s]."""
    return np.asarray(size_bytes / (gpu.memory_bandwidth_bytes_per_s * share.memory_share))
