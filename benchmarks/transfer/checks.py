"""How well the laws of `ppdsim.derive.terms` move published measurements: one check a law and table.

A check takes what was measured on one side (a GPU, a model, one GPU of a pair), moves it by the law that `derive` uses,
and compares with what the same table measured on the other side. A `counted` check enters the widening of derived
profiles; the others compare engines too, so their error is not the transfer's alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from transfer import tables
from transfer.check import (
    ATTENTION_ROWS,
    BF16_BYTES,
    COMPUTE_TOKENS,
    LAYER_7B_PARAMETERS,
    LAYER_8B_PARAMETERS,
    LLAMA_2_70B_PARAMETERS,
    MEMORY_TOKENS,
    SHORT_TOKENS,
    Check,
    moved_reads,
    reached,
    reads,
    row_s,
)

from ppdsim.derive.machine import ring_share
from ppdsim.derive.terms import Reached
from ppdsim.machine.hardware import gpus
from ppdsim.metrics import median


def all_checks(folder: Path) -> list[Check]:
    """Return every check on the published tables in `folder`."""
    share = reached(folder)
    return [
        *_across_gpus(folder, share),
        *_across_models(folder, share),
        *_across_tp(folder, share),
        *_across_architectures(folder, share),
        _link(folder, share),
    ]


def all_reduce_check(folder: Path, share: Reached) -> Check:
    """Return the check of the all-reduces that several GPUs add: a ring's bytes over the bandwidth of their link.

    The messages of the table are the partial sums of 1,024 to 8,192 tokens of hidden size 4096. Not counted:
    all-reduces are a part of `token_s`, whose error over several GPUs a table of matrices gives. What no table shows is
    the latency of small messages, which a decode step waits for: these ones wait for their host.
    """
    count, size, seconds = tables.all_reduces(folder)
    ring = np.array([ring_share(each) for each in count])
    link = gpus()["H100-SXM"].peer.bandwidth_bytes_per_s * share.link_share
    return Check(
        transfer="tp",
        quantity="all-reduce",
        what="all-reduces of 8 to 64 MiB on 2, 4 and 8 H100, by a ring's bytes (Vidur)",
        predicted_s=ring * size / link,
        measured_s=seconds,
        counted=False,
    )


def _pair(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return rows measured on both GPUs: columns `H200` and `H100-SXM` in seconds."""
    return table.pivot_table(index=keys, columns="gpu", values="seconds").dropna().reset_index()


def _across_gpus(folder: Path, share: Reached) -> list[Check]:
    h200, h100 = gpus()["H200"], gpus()["H100-SXM"]
    products = _pair(tables.gemm(folder), ["m", "n", "k"])
    big, small = products[products["m"] >= COMPUTE_TOKENS], products[products["m"] <= MEMORY_TOKENS]
    size = np.asarray(small["n"] * small["k"] * BF16_BYTES)
    prompts = _pair(tables.attention(folder, "context"), ["batch", "tokens"])
    prompts = prompts[prompts["tokens"] >= 2 * COMPUTE_TOKENS]
    steps = _pair(tables.attention(folder, "generation"), ["batch", "tokens"])
    first = steps.groupby("batch")[["H200", "H100-SXM"]].transform("min")
    slope = steps[steps["H200"] >= 4 * first["H200"]]
    grown = {name: np.asarray(slope[name] - first.loc[slope.index, name]) for name in ("H200", "H100-SXM")}
    rows = steps[(steps["batch"] >= ATTENTION_ROWS) & (steps["tokens"] <= SHORT_TOKENS)]
    compute = h200.bf16_flops_per_s / h100.bf16_flops_per_s
    bandwidth = h200.memory_bandwidth_bytes_per_s / h100.memory_bandwidth_bytes_per_s
    return [
        Check(
            transfer="gpu",
            quantity="matrix",
            what="H200 to H100, products of 512 tokens and more (AIConfigurator)",
            predicted_s=np.asarray(big["H200"]) * compute,
            measured_s=np.asarray(big["H100-SXM"]),
        ),
        Check(
            transfer="gpu",
            quantity="memory",
            what="H200 to H100, products of up to 64 tokens (AIConfigurator)",
            predicted_s=moved_reads(np.asarray(small["H200"]), reads(h200, size, share), reads(h100, size, share)),
            measured_s=np.asarray(small["H100-SXM"]),
        ),
        Check(
            transfer="gpu",
            quantity="memory",
            what="H200 to H100, decode attention beyond its shortest context (AIConfigurator)",
            predicted_s=grown["H200"] * bandwidth,
            measured_s=grown["H100-SXM"],
        ),
        Check(
            transfer="gpu",
            quantity="row",
            what="H200 to H100, decode attention of 64 streams and more on up to 4 tokens (AIConfigurator)",
            predicted_s=np.asarray(rows["H200"]),
            measured_s=np.asarray(rows["H100-SXM"]),
        ),
        Check(
            transfer="gpu",
            quantity="attention",
            what="H200 to H100, prompts of 1,024 tokens and more (AIConfigurator)",
            predicted_s=np.asarray(prompts["H200"]) * compute,
            measured_s=np.asarray(prompts["H100-SXM"]),
        ),
    ]


def _across_models(folder: Path, share: Reached) -> list[Check]:
    table = tables.gemm(folder)
    sums = {}
    for name, shapes in {"8B": ((6144, 4096), (4096, 4096)), "70B": ((10240, 8192), (8192, 8192))}.items():
        parts = [
            table[(table["n"] == n) & (table["k"] == k)].groupby(["gpu", "m"])["seconds"].agg(median) for n, k in shapes
        ]
        sums[name] = parts[0] + parts[1]
    both = pd.DataFrame(sums).dropna().reset_index()
    size = {"8B": 10240 * 4096 * BF16_BYTES, "70B": 18432 * 8192 * BF16_BYTES}
    big, small = both[both["m"] >= COMPUTE_TOKENS], both[both["m"] <= MEMORY_TOKENS]
    known = gpus()
    read = {
        name: np.array([float(reads(known[gpu], np.asarray(size[name]), share)) for gpu in small["gpu"]])
        for name in size
    }
    eight = tables.layers_8b(folder)[list(tables.MATRICES_8B)].sum(axis=1)
    sizes = tables.matrices_7b(folder)
    seven = sizes[(sizes["tp"] == 1) & sizes["tokens"].isin(eight.index)].set_index("tokens")["seconds"]
    eight = eight.loc[seven.index]
    many, few = seven.index >= COMPUTE_TOKENS, seven.index <= MEMORY_TOKENS
    h100 = known["H100-SXM"]
    read_s = [
        reads(h100, np.asarray(parameters * BF16_BYTES), share)
        for parameters in (LAYER_8B_PARAMETERS, LAYER_7B_PARAMETERS)
    ]
    kernels = len(tables.MATRICES_7B) / len(tables.MATRICES_8B)
    each = [row_s(parts) for parts in (eight, seven)]
    steps = tables.attention(folder, "generation")
    short = steps[steps["tokens"] <= SHORT_TOKENS].set_index(["gpu", "tokens", "batch"])["seconds"].unstack()
    doubled = [short[[rows, 2 * rows]].dropna() for rows in (ATTENTION_ROWS, 2 * ATTENTION_ROWS, 4 * ATTENTION_ROWS)]
    heads = tables.attention(folder, "context")
    heads = heads[heads["tokens"] >= 2 * COMPUTE_TOKENS].set_index(["gpu", "tokens", "batch"])["seconds"].unstack()
    pairs = [heads[[1, more]].dropna() for more in (2, 4, 8)]
    return [
        Check(
            transfer="model",
            quantity="matrix",
            what="qkv and o products of 8B to 70B on one GPU, 512 tokens and more (AIConfigurator)",
            predicted_s=np.asarray(big["8B"]) * size["70B"] / size["8B"],
            measured_s=np.asarray(big["70B"]),
        ),
        Check(
            transfer="model",
            quantity="matrix",
            what="matrices of Llama-3.1-8B (LLMServingSim) to Llama-2-7B (Vidur), H100, 512 tokens and more",
            predicted_s=np.asarray(eight[many]) * LAYER_7B_PARAMETERS / LAYER_8B_PARAMETERS,
            measured_s=np.asarray(seven[many]),
        ),
        Check(
            transfer="model",
            quantity="memory",
            what="qkv and o products of 8B to 70B on one GPU, up to 64 tokens (AIConfigurator)",
            predicted_s=moved_reads(np.asarray(small["8B"]), read["8B"], read["70B"]),
            measured_s=np.asarray(small["70B"]),
        ),
        Check(
            transfer="model",
            quantity="memory",
            what="matrices of Llama-3.1-8B (LLMServingSim) to Llama-2-7B (Vidur), H100, up to 64 tokens",
            predicted_s=np.maximum(np.asarray(eight[few]) - read_s[0], 0.0) * kernels + read_s[1],
            measured_s=np.asarray(seven[few]),
        ),
        Check(
            transfer="model",
            quantity="row",
            what="one more row of the matrices of Llama-3.1-8B (LLMServingSim) to Llama-2-7B (Vidur), H100",
            predicted_s=np.array([each[0] * LAYER_7B_PARAMETERS / LAYER_8B_PARAMETERS]),
            measured_s=np.array([each[1]]),
        ),
        Check(
            transfer="model",
            quantity="row",
            what="decode attention of 8 KV heads to 16 (twice the streams), 64 streams and more (AIConfigurator)",
            predicted_s=np.concatenate([2 * np.asarray(pair[pair.columns[0]]) for pair in doubled]),
            measured_s=np.concatenate([np.asarray(pair[pair.columns[1]]) for pair in doubled]),
        ),
        Check(
            transfer="model",
            quantity="attention",
            what="32 heads to 64, 128 and 256 (batches of 2, 4, 8), prompts of 1,024 tokens and more (AIConfigurator)",
            predicted_s=np.concatenate([np.asarray(pair[1]) * pair.columns[1] for pair in pairs]),
            measured_s=np.concatenate([np.asarray(pair[pair.columns[1]]) for pair in pairs]),
        ),
    ]


def _across_tp(folder: Path, share: Reached) -> list[Check]:
    table = tables.matrices_7b(folder).pivot_table(index="tokens", columns="tp", values="seconds")
    h100 = gpus()["H100-SXM"]
    words = {"matrix": "512 tokens and more", "memory": "up to 64 tokens"}
    out = []
    for quantity, rows in {
        "matrix": table[table.index >= COMPUTE_TOKENS],
        "memory": table[table.index <= MEMORY_TOKENS],
    }.items():
        alone = np.asarray(rows[1])
        predicted = []
        for tp in (2, 4, 8):
            read = reads(h100, np.asarray(LAYER_7B_PARAMETERS * BF16_BYTES), share)
            predicted.append(alone / tp if quantity == "matrix" else moved_reads(alone, read, read / tp))
        out.append(
            Check(
                transfer="tp",
                quantity=quantity,
                what=f"matrices of Llama-2-7B on 1 to 2, 4, 8 H100, {words[quantity]} (Vidur)",
                predicted_s=np.concatenate(predicted),
                measured_s=np.concatenate([np.asarray(rows[tp]) for tp in (2, 4, 8)]),
            )
        )
    return out


def _across_architectures(folder: Path, share: Reached) -> list[Check]:
    known = gpus()
    a100, h100 = known["A100-80G"], known["H100-SXM"]
    both = tables.forwards_70b(folder).pivot_table(index=["tp", "tokens"], columns="gpu").dropna()
    tp = np.asarray(both.index.get_level_values("tp"), dtype=np.float64)
    long = np.asarray(both.index.get_level_values("tokens") >= 2 * COMPUTE_TOKENS)
    weights = LLAMA_2_70B_PARAMETERS * BF16_BYTES / tp
    step = np.asarray(both["tpot_s"]["A100-80G"])
    return [
        Check(
            transfer="architecture",
            quantity="matrix",
            what="A100 to H100, Llama-2-70B TTFT of 1,024 tokens and more (Splitwise)",
            predicted_s=np.asarray(both["ttft_s"]["A100-80G"])[long] * a100.bf16_flops_per_s / h100.bf16_flops_per_s,
            measured_s=np.asarray(both["ttft_s"]["H100-SXM"])[long],
        ),
        Check(
            transfer="architecture",
            quantity="memory",
            what="A100 to H100, Llama-2-70B time per token (Splitwise)",
            predicted_s=moved_reads(step, reads(a100, weights, share), reads(h100, weights, share)),
            measured_s=np.asarray(both["tpot_s"]["H100-SXM"]),
        ),
    ]


def _link(folder: Path, share: Reached) -> Check:
    size, seconds = tables.messages(folder)
    peer = gpus()["H100-SXM"].peer
    return Check(
        transfer="link",
        quantity="link",
        what="messages between two H100 by latency and bandwidth, 2 KB to 64 MB (Vidur)",
        predicted_s=np.asarray(peer.latency_s + size / (peer.bandwidth_bytes_per_s * share.link_share)),
        measured_s=seconds,
    )
