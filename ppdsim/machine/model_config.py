"""The shape of a model from its Hugging Face ``config.json``: dense Llama, Mistral, Qwen2 and Qwen3, alone or nested.

A model that also sees images keeps the transformer's sizes under ``text_config``; its image part is not counted. Matrix
parameters of the layers decide compute per token, KV heads and head size decide the bytes that travel.

Not modelled: mixture of experts, latent attention, sliding windows, weights quantised other than to fp8; a model with
one of them is refused by its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppdsim.errors import InputError
from ppdsim.measurements import Model
from ppdsim.reading import read_json

COVERED = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
"""Architectures that the cost curves describe, and the ``model_type`` that a nested ``text_config`` has of each."""
UNKNOWN = "not covered"
"""Why a model is refused of which nothing else is known."""
EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts")
LARGEST_SIZE = 2**31 - 1
"""Largest size of a layer, or count of layers, that is believed [1]."""
DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
FP8_METHODS = ("fp8", "fbgemm_fp8")
"""``quant_method`` whose weights and activations are fp8; compressed-tensors says it in its groups."""
VOCABULARY = ("lm_head", "re:.*lm_head")
"""What an fp8 checkpoint leaves in bf16 as this project assumes of all."""
HASH = re.compile(r"[0-9a-f]{12,64}")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
CACHED = re.compile(r"models--(?:.+--)?([\w.-]+)")
"""Folder of the Hugging Face cache that holds the snapshots of a model, named by commit."""
A_SIZE = re.compile(r"(?<![a-z0-9])\d+(\.\d+)?[bm](?![a-z0-9])")

Size = Annotated[int, Field(strict=True, ge=1, le=LARGEST_SIZE)]
Flag = Annotated[bool, Field(strict=True)]


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


R = TypeVar("R", bound=_Read)


class _Precision(_Read):
    num_bits: Annotated[int, Field(strict=True)] = 16
    type: str = "float"

    @property
    def fp8(self) -> bool:
        return self.num_bits == 8 and self.type == "float"


class _Group(_Read):
    weights: _Precision | None = None
    input_activations: _Precision | None = None


class _Quantisation(_Read):
    quant_method: str
    config_groups: dict[str, _Group] = Field(default_factory=dict)
    kv_cache_scheme: _Precision | None = None
    ignore: tuple[str, ...] | None = None
    modules_to_not_convert: tuple[str, ...] | None = None

    @property
    def method(self) -> str:
        """``fp8`` where weights and activations are, else the method's own name."""
        groups = self.config_groups.values()
        grouped = bool(groups) and all(g.weights and g.weights.fp8 for g in groups)
        dynamic = all(g.input_activations and g.input_activations.fp8 for g in groups)
        if self.quant_method in FP8_METHODS or (self.quant_method == "compressed-tensors" and grouped and dynamic):
            return "fp8"
        return " ".join(self.quant_method.split())

    @property
    def beside(self) -> tuple[str, ...]:
        """Modules beyond the vocabulary's that keep the trained dtype."""
        left = (*(self.ignore or ()), *(self.modules_to_not_convert or ()))
        return tuple(name for name in left if name not in VOCABULARY)


class _Sizes(_Read):
    hidden_size: Size
    num_hidden_layers: Size
    num_attention_heads: Size
    intermediate_size: Size
    vocab_size: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    tie_word_embeddings: Flag | None = None
    max_position_embeddings: Size | None = None


class _Root(_Read):
    architectures: tuple[str, ...] = ()
    name_or_path: str = Field(default="", alias="_name_or_path")
    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    torch_dtype: Literal["bfloat16", "float16", "float32"] | None = None
    tie_word_embeddings: Flag | None = None
    quantization_config: _Quantisation | None = None
    text_config: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HfModel:
    """A model as its ``config.json`` has it.

    Attributes
    ----------
    quantised : str or None
        How the weights are quantised: ``fp8``, or the name of a method that is not covered.
    fp8_kv : bool
        The checkpoint asks for KV in fp8.
    notes : tuple of str
        What the counts leave out.
    """

    model: Model
    quantised: str | None
    fp8_kv: bool
    notes: tuple[str, ...]


class NotCovered(InputError):
    """A model that an engine may well serve, and that the cost curves do not describe; `reason` says what it has."""

    def __init__(self, path: Path, architecture: str, reason: str) -> None:
        super().__init__(f"{path}: architecture {architecture} ({reason}); the cost curves cover {', '.join(COVERED)}")
        self.architecture = architecture
        self.reason = reason


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
    return read_config(path, dummy_weights=dummy_weights).model


def read_config(path: Path, *, dummy_weights: bool) -> HfModel:
    """Read a model from a ``config.json``.

    Raises
    ------
    InputError
        If it is malformed, or not a dense model that the cost curves describe: what it is instead is named.
    """
    content = _json(path)
    root = _checked(_Root, content, path, within="")
    nested = root.text_config
    text = content if nested is None else nested
    architecture = " ".join(root.architectures[0].split()) if root.architectures else "unknown"
    family = COVERED.get(architecture) if nested is None else _nested_family(nested)
    reason = _not_covered(family, architecture, text)
    if reason:
        raise NotCovered(path, architecture, reason)
    sizes = _checked(_Sizes, text, path, within="" if nested is None else "text_config.")
    hidden, layers, heads = sizes.hidden_size, sizes.num_hidden_layers, sizes.num_attention_heads
    kv_heads = sizes.num_key_value_heads or heads
    if heads % kv_heads:
        raise InputError(
            f"{path}: 'num_key_value_heads' = {kv_heads}: {heads} query heads (num_attention_heads) cannot share them "
            "evenly; expected a divisor"
        )
    if sizes.head_dim is None and hidden % heads:
        raise InputError(
            f"{path}: 'hidden_size' = {hidden} is no multiple of num_attention_heads {heads}; expected one, or head_dim"
        )
    head = sizes.head_dim or hidden // heads
    attention = 2 * hidden * heads * head + 2 * hidden * kv_heads * head
    matrices, vocabulary = layers * (attention + 3 * hidden * sizes.intermediate_size), hidden * sizes.vocab_size
    dtype = root.dtype or root.torch_dtype or "bfloat16"
    tied = root.tie_word_embeddings if sizes.tie_word_embeddings is None else sizes.tie_word_embeddings
    quantised = root.quantization_config
    model = Model(
        name=_name(path, root.name_or_path, family or "", matrices + vocabulary * (1 if tied else 2)),
        layers=layers,
        kv_heads=kv_heads,
        query_heads=heads,
        head_dim=head,
        dtype=dtype,
        dtype_bytes=DTYPE_BYTES[dtype],
        matrix_parameters=float(matrices),
        vocabulary_parameters=float(vocabulary),
        weights="random (cost does not depend on their values)" if dummy_weights else "as trained",
        hidden_size=hidden,
        intermediate_size=sizes.intermediate_size,
        query_key_norm=family == "qwen3",
        tied_embeddings=bool(tied),
        weights_dtype="bf16" if quantised is None else quantised.method,
        context_tokens=sizes.max_position_embeddings,
    )
    return HfModel(
        model=model,
        quantised=None if quantised is None else quantised.method,
        fp8_kv=quantised is not None and quantised.kv_cache_scheme is not None and quantised.kv_cache_scheme.fp8,
        notes=_notes(quantised, is_nested=nested is not None),
    )


def check_dtypes(found: HfModel, *, weights_dtype: str | None, kv_dtype: str | None, where: str) -> None:
    """Refuse dtypes that are not those of a quantised checkpoint.

    Raises
    ------
    InputError
        Naming `where`, what the checkpoint is, and the option that says so.
    """
    if found.quantised is not None and not (found.quantised == "fp8" and weights_dtype == "fp8"):
        raise InputError(
            f"{where}: weights quantised by {found.quantised}; covered are bf16 and fp8, the latter with --dtype fp8"
        )
    if found.fp8_kv and kv_dtype is None:
        raise InputError(f"{where}: the checkpoint asks for fp8 KV (kv_cache_scheme); say --kv-dtype fp8 or bf16")


def _nested_family(text: dict[str, Any]) -> str | None:
    family = text.get("model_type")
    return family if family in COVERED.values() else None


def _not_covered(family: str | None, architecture: str, text: dict[str, Any]) -> str | None:
    """Return why the cost curves do not describe a model, or None."""
    reasons = []
    if text.get("kv_lora_rank"):
        reasons.append("multi-head latent attention (MLA)")
    if any(text.get(key) for key in EXPERT_KEYS) or "Moe" in architecture:
        reasons.append("mixture of experts (MoE)")
    window = text.get("sliding_window")
    # Qwen configurations state a window that is off unless they say otherwise.
    used = text.get("use_sliding_window", not str(text.get("model_type", architecture)).lower().startswith("qwen"))
    kinds = text.get("layer_types")
    if (window and used) or (isinstance(kinds, list) and "sliding_attention" in kinds):
        reasons.append(f"attention in a sliding window of {window} tokens")
    if not reasons and family is None:
        reasons.append(UNKNOWN)
    return " and ".join(reasons) or None


def _name(path: Path, stated: str, family: str, parameters: int) -> str:
    """Return the model's name: from a repository, the cache of one, or a file or folder that is named like a model.

    Any other folder says where the file lies and not what it is; the family and the size then name the model.
    """
    stem, folder = path.stem, path.resolve().parent
    candidates = [stated.rsplit("/", 1)[-1]] if REPOSITORY.fullmatch(stated) else []
    candidates += [found[1] for part in reversed(folder.parts) if (found := CACHED.fullmatch(part))]
    if not stem.startswith("config"):
        candidates.append(stem)
    if family.rstrip("23") in folder.name.lower() and A_SIZE.search(folder.name.lower()):
        candidates.append(folder.name)
    named = [name for name in candidates if name.strip(".-_") and not HASH.fullmatch(name)]
    return named[0] if named else f"{family} of {parameters / 1e9:.3g}B parameters"


def _notes(quantised: _Quantisation | None, *, is_nested: bool) -> tuple[str, ...]:
    notes = []
    if is_nested:
        notes.append("the model's image part is not counted: neither its work nor its weights in GPU memory")
    if quantised is not None and quantised.beside:
        notes.append(f"counted as fp8, though the checkpoint keeps them as trained: {', '.join(quantised.beside[:4])}")
    return tuple(notes)


def _checked(kind: type[R], content: dict[str, Any], path: Path, *, within: str) -> R:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = within + ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise InputError(f"{path}: missing key '{key}'") from None
        given = " ".join(str(first.get("input")).split())[:60]
        wanted = "expected an object" if first["type"] == "model_type" else first["msg"].lower()
        raise InputError(f"{path}: '{key}' = {given!r}: {wanted}") from None


def _json(path: Path) -> dict[str, Any]:
    config = read_json(path, hint="; expected a model's config.json")
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected one JSON object, a Hugging Face config.json")
    return config
