"""The shape of the model under test, from a Hugging Face ``config.json``: dense Llama, Qwen2, Qwen3 and Mistral.

Matrix parameters of the layers decide compute per token, KV heads and head size decide the bytes that travel.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppdsim.errors import InputError
from ppdsim.measurements import Model
from ppdsim.reading import read_json

COVERED = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts")
LARGEST_SIZE = 2**31 - 1
"""Largest size of a layer, or count of layers, that is believed [1]."""
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
    return read_config(path, dummy_weights=dummy_weights)


def read_config(path: Path, *, dummy_weights: bool) -> Model:
    """Read a model's shape from a ``config.json``.

    Raises
    ------
    InputError
        If it is malformed, or not a dense model that the cost curves describe: what it is instead is named.
    """
    config = _read(path)
    named = config.get("architectures")
    architecture = " ".join(str(named[0]).split()) if isinstance(named, list) and named else "unknown"
    reason = _not_covered(architecture, config)
    if reason:
        raise InputError(f"{path}: architecture {architecture} ({reason}); the cost curves cover {', '.join(COVERED)}")
    try:
        hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
        heads, inner = int(config["num_attention_heads"]), int(config["intermediate_size"])
        vocabulary = int(config["vocab_size"])
        kv_heads = int(config.get("num_key_value_heads") or heads)
        head = int(config.get("head_dim") or hidden // heads)
    except KeyError as missing:
        raise InputError(f"{path}: missing key {missing}") from None
    except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise InputError(f"{path}: a size is no whole number above 0 ({error})") from None
    sizes = (hidden, layers, heads, inner, vocabulary, kv_heads, head)
    if not 1 <= min(sizes) <= max(sizes) <= LARGEST_SIZE:
        raise InputError(f"{path}: a size is below 1 or above {LARGEST_SIZE}; expected whole numbers above 0")
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    attention = 2 * hidden * heads * head + 2 * hidden * kv_heads * head
    return Model(
        name=str(config.get("_name_or_path") or path.resolve().parent.name),
        layers=layers,
        kv_heads=kv_heads,
        query_heads=heads,
        head_dim=head,
        dtype=dtype,
        dtype_bytes=DTYPE_BYTES.get(dtype, 2),
        matrix_parameters=float(layers * (attention + 3 * hidden * inner)),
        vocabulary_parameters=float(hidden * vocabulary),
        weights="random (cost does not depend on their values)" if dummy_weights else "as trained",
        hidden_size=hidden,
        intermediate_size=inner,
        query_key_norm=architecture == "Qwen3ForCausalLM",
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        context_tokens=_positions(config),
    )


def read_position_limit(folder: Path) -> int | None:
    """Return the model's longest context [tokens], or None where its ``config.json`` does not say.

    Raises
    ------
    InputError
        If the file cannot be read or is malformed.
    """
    return _positions(_read(folder / "config.json"))


def _positions(config: Mapping[str, Any]) -> int | None:
    found = config.get("max_position_embeddings")
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None


def quantisation(path: Path) -> str | None:
    """Return how a model's weights are quantised, by the name its config.json gives, or None."""
    found = _read(path).get("quantization_config")
    return str(found.get("quant_method", "unknown")) if isinstance(found, dict) else None


def _read(path: Path) -> dict[str, Any]:
    config = read_json(path, hint="; expected a model's config.json")
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected one JSON object, a Hugging Face config.json")
    return config


def _not_covered(architecture: str, config: Mapping[str, Any]) -> str | None:
    """Return why the cost curves do not describe a model, or None."""
    if "kv_lora_rank" in config:
        return "multi-head latent attention (MLA)"
    if any(key in config for key in EXPERT_KEYS) or "Moe" in architecture:
        return "mixture of experts (MoE)"
    if architecture not in COVERED:
        return "not covered"
    if config.get("sliding_window") and config.get("use_sliding_window", architecture == "MistralForCausalLM"):
        return f"attention in a sliding window of {config['sliding_window']} tokens"
    return None
