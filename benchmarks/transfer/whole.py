"""Whole forwards that others measured, against profiles derived from this project's own: other engines, so not counted.

The kernels of `checks` part the transfer from the engine; here both differ, and the error says what a reader of the
derived profile may expect of another stack. LLMServingSim profiled vLLM layer by layer (norms and rope as separate
kernels, so only the matrices compare); Splitwise measured a stack of 2023 (on two H100 the model leaves no room for KV
beside what SGLang reserves).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from transfer import tables
from transfer.check import COMPUTE_TOKENS, Check

from ppdsim.compose import central
from ppdsim.derive.derive import Change, derive
from ppdsim.derive.errors import TransferErrors
from ppdsim.derive.machine import HEAD_LAUNCHES, LAYER_LAUNCHES, machine_of
from ppdsim.machine import hardware
from ppdsim.measurements import Model
from ppdsim.profile import Profile

LLAMA_2_70B = Model(
    name="Llama-2-70B",
    layers=80,
    kv_heads=8,
    query_heads=64,
    head_dim=128,
    dtype="float16",
    dtype_bytes=2,
    matrix_parameters=80.0 * (2 * 8192 * 8192 + 2 * 8192 * 1024 + 3 * 8192 * 28672),
    vocabulary_parameters=8192.0 * 32000,
    weights="as trained",
    hidden_size=8192,
    intermediate_size=28672,
)
"""Shape of the model in Splitwise's table; its config.json on Hugging Face."""


def whole_checks(profile: Profile, folder: Path, errors: TransferErrors) -> list[Check]:
    """Return the checks of a measured H200 profile of Llama-3.1-8B, moved to the machines of the tables."""
    h100 = hardware.gpus()["H100-SXM"]
    there = derive(profile, Change(gpu=h100), errors, name="h100")
    machine, model = machine_of(there, h100), central(there)
    layers = tables.layers_8b(folder)
    matrices = layers[list(tables.MATRICES_8B)].sum(axis=1) * machine.shape.layers
    long = matrices.index >= COMPUTE_TOKENS
    beside = machine.elementwise_bytes_per_token / (h100.memory_bandwidth_bytes_per_s * errors.reached.memory_share)
    token_s = float(np.asarray(model.prefill.token_s)) - beside
    step = float(np.asarray(model.decode.floor_s))
    read = machine.weights_bytes / (h100.memory_bandwidth_bytes_per_s * errors.reached.memory_share)
    products = len(tables.MATRICES_8B) * machine.shape.layers + 1
    kernels = (step - read) * products / (LAYER_LAUNCHES * machine.shape.layers + HEAD_LAUNCHES)
    one = matrices.loc[1] + layers.loc[1, "lm_head"]
    out = [
        Check(
            transfer="gpu",
            quantity="matrix",
            what="own H200 profile to H100: matrices of Llama-3.1-8B, 512 tokens and more (LLMServingSim, vLLM)",
            predicted_s=token_s * np.asarray(matrices.index[long], dtype=np.float64),
            measured_s=np.asarray(matrices[long]),
            counted=False,
        ),
        Check(
            transfer="gpu",
            quantity="memory",
            what="own H200 profile to H100: matrices of Llama-3.1-8B for one token (LLMServingSim, vLLM)",
            predicted_s=np.array([read + kernels]),
            measured_s=np.array([float(one)]),
            counted=False,
        ),
    ]
    table = tables.forwards_70b(folder)
    table = table[(table["gpu"] == "H100-SXM") & (table["tokens"] >= 2 * COMPUTE_TOKENS) & (table["tp"] > 2)]
    ttft, tpot = [], []
    for tp, rows in table.groupby("tp"):
        large = derive(profile, Change(gpu=h100, model=LLAMA_2_70B, tp=int(str(tp))), errors, name="70b")
        moved = central(large)
        tokens = np.asarray(rows["tokens"], dtype=np.float64)
        ttft.append(np.asarray(moved.append_ttft_s(np.zeros(len(tokens)), tokens)) / np.asarray(rows["ttft_s"]))
        tpot.append(np.asarray(moved.decode.step_s(1.0, tokens)) / np.asarray(rows["tpot_s"]))
    for quantity, ratios, column in (("matrix", ttft, "TTFT"), ("memory", tpot, "time per token")):
        ratio = np.concatenate(ratios)
        out.append(
            Check(
                transfer="all",
                quantity=quantity,
                what=f"own H200 profile of 8B to Llama-2-70B on 4 and 8 H100: {column} (Splitwise, 2023)",
                predicted_s=ratio,
                measured_s=np.ones(len(ratio)),
                counted=False,
            )
        )
    return out
