"""Published tables of measured kernels and forwards (``calibration/published``, with source and licence there).

Every table becomes plain arrays in SI units. The files are gzipped CSV subsets of what their authors published.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ppdsim.cost.base import Array

GPU_NAMES = {"h100_sxm": "H100-SXM", "h200_sxm": "H200", "a100-80gb": "A100-80G", "h100-80gb": "H100-SXM"}
"""Names of GPUs in the tables, and in calibration/hardware.yaml."""
MATRICES_8B = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MATRICES_7B = ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj")


def gemm(folder: Path) -> pd.DataFrame:
    """Return bf16 matrix products: gpu, m (tokens), n, k, seconds. Source: AIConfigurator, SGLang 0.5.14."""
    table = pd.read_csv(folder / "aiconfigurator_gemm.csv.gz")
    return table.assign(gpu=table["hw"].map(GPU_NAMES), seconds=table["latency"] * 1e-3)[
        ["gpu", "m", "n", "k", "seconds"]
    ]


def attention(folder: Path, operation: str) -> pd.DataFrame:
    """Return attention of one layer (32 query and 8 KV heads of 128, bf16, FA3): gpu, batch, tokens, seconds.

    `operation` is ``context`` (a whole prompt of `tokens`) or ``generation`` (one token on `tokens` of context).
    """
    table = pd.read_csv(folder / "aiconfigurator_attention.csv.gz")
    table = table[table["op_name"] == f"{operation}_attention"]
    return pd.DataFrame(
        {
            "gpu": table["hw"].map(GPU_NAMES),
            "batch": table["batch_size"],
            "tokens": table["isl"] + table["step"],
            "seconds": table["latency"] * 1e-3,
        }
    )


def layers_8b(folder: Path) -> pd.DataFrame:
    """Return seconds of one Llama-3.1-8B layer's parts on an H100: tokens by part. Source: LLMServingSim (vLLM)."""
    table = pd.read_csv(folder / "llmservingsim_h100_llama-3.1-8b.csv.gz")
    return table.pivot_table(index="input", columns="layer_name", values="latency(ns)") * 1e-9


def matrices_7b(folder: Path) -> pd.DataFrame:
    """Return seconds of one Llama-2-7B layer's matrices on H100s: tokens, tp, seconds. Source: Vidur."""
    table = pd.read_csv(folder / "vidur_h100_llama-2-7b_matrices.csv.gz")
    return pd.DataFrame(
        {
            "tokens": table["num_tokens"],
            "tp": table["num_tensor_parallel_workers"],
            "seconds": table[list(MATRICES_7B)].sum(axis=1) * 1e-3,
        }
    )


def messages(folder: Path) -> tuple[Array, Array]:
    """Return bytes and seconds of messages between two H100 of one host (NVLink 4). Source: Vidur."""
    table = pd.read_csv(folder / "vidur_h100_send_recv.csv.gz")
    table = table[table["devices_per_node"] == 2]
    return np.asarray(table["size"], dtype=np.float64), np.asarray(table["median"], dtype=np.float64) * 1e-3


def all_reduces(folder: Path) -> tuple[Array, Array, Array]:
    """Return GPUs, bytes and seconds of all-reduces on a DGX H100 (NVLink 4, NCCL). Source: Vidur."""
    table = pd.read_csv(folder / "vidur_h100_all_reduce.csv.gz")
    gpus, size, median = (np.asarray(table[name], dtype=np.float64) for name in ("num_workers", "size", "median"))
    return gpus, size, median * 1e-3


def forwards_70b(folder: Path) -> pd.DataFrame:
    """Return TTFT and time per token of Llama-2-70B, one request at a time. Source: Splitwise, 2023."""
    table = pd.read_csv(folder / "splitwise_llama2-70b.csv.gz")
    return pd.DataFrame(
        {
            "gpu": table["hardware"].map(GPU_NAMES),
            "tp": table["tensor_parallel"],
            "tokens": table["prompt_size"],
            "ttft_s": table["prompt_time"] * 1e-3,
            "tpot_s": table["token_time"] * 1e-3,
        }
    )
