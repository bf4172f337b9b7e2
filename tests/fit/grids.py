"""A small grid measured on a known machine: rows that the curves of `curve_cases` would give, with or without noise."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from curve_cases import HANDOFF, turn_model

from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport

CACHED = (0, 1024, 8192, 32_768)
NEW = (64, 256, 1024, 4096, 8192)
ARMS = ((Arm.APPEND_D, Transport.NONE), (Arm.P_FULL, Transport.TCP), (Arm.P_DELTA, Transport.TCP))

MANIFEST: dict[str, Any] = {
    "schema": "ppdsim/measurements/1",
    "id": "made-up_machine",
    "date": "2026-01-02",
    "machine": "a made-up pair",
    "gpu": {
        "name": "made-up",
        "count": 2,
        "memory_bandwidth_bytes_per_s": 4.8e12,
        "peak_flops_per_s": 9.89e14,
        "limits_source": "made up",
        "multiprocessors": 132,
    },
    "link": "TCP",
    "transports": ["tcp"],
    "model": {
        "name": "made-up",
        "layers": 32,
        "kv_heads": 8,
        "query_heads": 32,
        "head_dim": 128,
        "dtype": "bf16",
        "dtype_bytes": 2,
        "matrix_parameters": 6.98e9,
        "vocabulary_parameters": 5.25e8,
        "weights": "random",
    },
    "engine": "SGLang",
    "engine_version": "0.5.17",
    "libraries": {},
    "server_flags": [],
    "page_size_tokens": 64,
    "chunked_prefill_size": 8192,
    "kv_pool_tokens": 160_000,
    "tensor_parallel_size": 1,
    "client": "none",
    "source": "tests",
}


def rows(model: TurnModel, *, noise: float = 0.0, repeats: int = 2, seed: int = 0) -> list[dict[str, Any]]:
    """Return the grid's rows as `model` would give them, with a relative noise of one sigma `noise`."""
    rng = np.random.default_rng(seed)
    out: list[dict[str, Any]] = []

    def noisy(seconds: float) -> float:
        return float(seconds) * float(np.exp(noise * rng.standard_normal()))

    for arm, transport in ARMS:
        for cached in CACHED:
            for new in NEW:
                for repeat in range(repeats):
                    ttft = noisy(model.ttft_s(arm, transport, float(cached), float(new)))
                    forward = float(model.prefill.seconds(float(new), float(cached), 8192))
                    one = arm is Arm.APPEND_D
                    out.append(
                        {
                            "kind": "prefill",
                            "arm": arm.value,
                            "transport": transport.value,
                            "cached_tokens": cached,
                            "new_tokens": new,
                            "prefill_cached_tokens": None if one else cached,
                            "found_cached_tokens": cached,
                            "repeat": repeat,
                            "elapsed_s": 0.1 * len(out),
                            "ttft_s": ttft,
                            "itl_s": float(model.decode.floor_s) + (0.0 if one else float(model.decode.start_s) / 3),
                            "output_tokens": 4,
                            "finish_reason": "length",
                            "server_forward_entry_s": 1e-3,
                            "server_prefill_finished_s": 1e-3 + forward if one else None,
                            "server_first_response_s": 1e-3
                            + (forward if one else float(model.handoff(arm, transport).join_s))
                            + float(model.frontend.out_s),
                        }
                    )
    for batch in (1, 4, 16, 64, 128):
        for prompt in (512, 2048, 8192):
            generated = 32.0 if batch < 16 else 64.0
            itl = noisy(model.decode.step_s(float(batch), batch * (prompt + generated)))
            out.append(
                {
                    "kind": "decode",
                    "batch": batch,
                    "prompt_tokens": prompt,
                    "generated_tokens": generated,
                    "gaps": 100,
                    "elapsed_s": 0.1 * len(out),
                    "itl_median_s": itl,
                    "itl_mean_s": itl,
                    "window_s": 1.0,
                    "finish_reason": "length",
                }
            )
    for batch in (8, 32):
        for cached, new in ((0, 256), (0, 8192), (16_384, 256), (16_384, 2048)):
            gap = model.stall_gap_s(float(cached), float(new), float(batch), 2248.0)
            # Streams lose the forward as it runs behind a step, whatever of it the largest gap shows.
            lost = float(model.prefill.seconds(float(new), float(cached), 8192)) - float(model.prefill.prepare_s)
            out.append(
                {
                    "kind": "interference",
                    "batch": batch,
                    "prompt_tokens": 2048,
                    "generated_tokens": 200.0,
                    "cached_tokens": cached,
                    "new_tokens": new,
                    "found_cached_tokens": [cached] * 3,
                    "append_ttft_s": [0.3] * 3,
                    "stall_gap_s": [noisy(gap) for _ in range(3)],
                    "window_sum_s": [22.0 * 6e-3 + lost] * 3,
                    "window_gaps": [22.0] * 3,
                    "itl_base_s": 6e-3,
                    "all_running": True,
                    "elapsed_s": 0.1 * len(out),
                    "finish_reason": "length",
                }
            )
    return out


def write(folder: Path, records: list[dict[str, Any]], **manifest: Any) -> Path:
    """Write a measurement folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "points.jsonl").write_text(text)
    content = {
        **MANIFEST,
        "points_file": "points.jsonl",
        "points_sha256": hashlib.sha256(text.encode()).hexdigest(),
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


NO_TASKS = replace(HANDOFF, send_s=0.0, request_result_s=0.0, beside_send_s=0.0)
"""Over TCP a send has no time of its own."""
TRUTH = turn_model(handoffs={(arm, Transport.TCP): NO_TASKS for arm in (Arm.P_FULL, Arm.P_DELTA)})
