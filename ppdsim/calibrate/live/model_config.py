"""The shape of the model under test, from a Hugging Face ``config.json``: dense Llama, Qwen2, Qwen3 and Mistral.

Matrix parameters of the layers decide compute per token, KV heads and head size decide the bytes that travel.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ppdsim.errors import InputError
from ppdsim.measurements import Model

COVERED = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


def read_model(folder: Path, *, dummy_weights: bool) -> Model:
    """Read a model folder's shape.

    Raises
    ------
    InputError
        If there is no config.json, it is malformed, or it is not a dense model that the cost curves describe.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"--model {folder}: no config.json there, expected the folder of a Hugging Face model")
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: malformed JSON ({error.msg})") from None
    names = config.get("architectures") or ["unknown"]
    if names[0] not in COVERED:
        kind = "mixture of experts" if "num_experts" in config or "num_local_experts" in config else "not covered"
        kind = "multi-head latent attention" if "kv_lora_rank" in config else kind
        raise InputError(f"{path}: architecture {names[0]} ({kind}); the cost curves cover {', '.join(COVERED)}")
    try:
        hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
        heads, inner = int(config["num_attention_heads"]), int(config["intermediate_size"])
        vocabulary = int(config["vocab_size"])
    except KeyError as missing:
        raise InputError(f"{path}: missing key {missing}") from None
    kv_heads = int(config.get("num_key_value_heads") or heads)
    head = int(config.get("head_dim") or hidden // heads)
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    attention = 2 * hidden * heads * head + 2 * hidden * kv_heads * head
    return Model(
        name=str(config.get("_name_or_path") or folder.resolve().name),
        layers=layers,
        kv_heads=kv_heads,
        query_heads=heads,
        head_dim=head,
        dtype=dtype,
        dtype_bytes=DTYPE_BYTES.get(dtype, 2),
        matrix_parameters=float(layers * (attention + 3 * hidden * inner)),
        vocabulary_parameters=float(hidden * vocabulary),
        weights="random (cost does not depend on their values)" if dummy_weights else "as trained",
    )
