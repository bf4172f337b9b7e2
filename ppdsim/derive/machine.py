"""What a model's forward is made of on a machine: FLOPs, bytes, kernels, messages. Counted, never fitted.

For a dense transformer of n layers, hidden size h, inner size i, q and k query and KV heads of size d, on t GPUs::

    matrix FLOPs a token    2 * matrix_parameters / t
    attention FLOPs a pair  4 * n * q * d / t
    KV bytes a token        2 * n * max(k / t, 1) * d * dtype
    weight bytes            (matrix_parameters * dtype + vocabulary_parameters * 2) / t, read by one step
    held bytes              the same, and once more vocabulary_parameters * 2 / t with an input embedding of its own
    element-wise bytes      2 * n * (8 h + (3 i + 2 q d + 4 k d) / t)   (norms and residual; activation, rope, KV)
    launches                n * (10 or 12) + 8                         (kernels of an eager forward; 12 with q/k norm)
    all-reduces             2 n messages of 2 h bytes a token if t > 1

It does not know: mixture of experts, latent attention, speculative decoding, quantisation other than to fp8.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from ppdsim.errors import InputError
from ppdsim.machine.hardware import Gpu
from ppdsim.measurements import Model
from ppdsim.profile import MatricesRecord, ModelRecord, Profile
from ppdsim.types import ModelShape

LAYER_LAUNCHES = 10
"""Kernels of a layer [1], SGLang models/llama.py: norm, qkv, rope, KV store, attention, o, norm, gate-up, act, down."""
NORM_LAUNCHES = 2
"""Further kernels of a layer that normalises queries and keys [1]; SGLang models/qwen3.py."""
HEAD_LAUNCHES = 8
"""Kernels around the layers [1], SGLang: embedding, norm, vocabulary, gather, cast, sampling, two copies."""
ACTIVATION_BYTES = 2
"""Activations are bf16, with fp8 weights too [B]."""
WEIGHT_BYTES = {"bf16": 2.0, "fp8": 1.0}
"""Bytes of a layer weight by dtype [B]; the vocabulary's stay bf16."""
KV_BYTES = {"bf16": 2, "fp8": 1}
"""Bytes of a value of KV by dtype [B]; SGLang's --kv-cache-dtype."""


def ring_share(gpus: float) -> float:
    """Return the bytes that a GPU sends for each byte that a ring of `gpus` reduces: 2 (t - 1) / t."""
    return 2.0 * (gpus - 1.0) / gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrices:
    """A dense model's matrices beside its attention shape."""

    hidden_size: int
    intermediate_size: int
    matrix_parameters: float
    vocabulary_parameters: float
    query_key_norm: bool
    tied_embeddings: bool

    @classmethod
    def of(cls, found: MatricesRecord | Model) -> Matrices:
        """Return those that a profile or a model's config.json states."""
        return cls(**{field.name: getattr(found, field.name) for field in fields(cls)})


def shape_of(model: ModelRecord | Model, dtype_bytes: int) -> ModelShape:
    """Return the attention shape that a profile or a model's config.json states, with KV of so many bytes a value."""
    sizes = {field.name: getattr(model, field.name) for field in fields(ModelShape) if field.name != "dtype_bytes"}
    return ModelShape(**sizes, dtype_bytes=dtype_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A model with its weights' dtype, spread over `tp` GPUs of a kind."""

    gpu: Gpu
    shape: ModelShape
    matrices: Matrices
    weights_dtype: str
    tp: int

    @property
    def matrix_flops_per_token(self) -> float:
        """FLOPs of the layers' matrices for one token on one GPU."""
        return 2.0 * self.matrices.matrix_parameters / self.tp

    @property
    def matrix_flops_per_s(self) -> float:
        """Peak FLOP/s of one GPU at the weights' dtype."""
        fp8 = self.gpu.fp8_flops_per_s if self.weights_dtype == "fp8" else None
        return self.gpu.bf16_flops_per_s if fp8 is None else fp8

    @property
    def attention_flops_per_pair(self) -> float:
        """FLOPs of attention for one pair of a new and an earlier token on one GPU."""
        return 4.0 * self.shape.layers * self.query_heads_per_gpu * self.shape.head_dim

    @property
    def query_heads_per_gpu(self) -> float:
        """Query heads of a layer on one GPU: so many rows of attention has a new token."""
        return self.shape.query_heads / self.tp

    @property
    def kv_bytes_per_token(self) -> float:
        """KV bytes of a token on one GPU; GPUs beyond the number of KV heads hold copies."""
        return self.shape.kv_bytes_per_token * max(1.0 / self.tp, 1.0 / self.shape.kv_heads)

    @property
    def kv_heads_of_layers(self) -> float:
        """KV heads of all layers on one GPU: blocks of attention that a stream adds, whatever a value's bytes."""
        return self.kv_bytes_per_token / (2.0 * self.shape.head_dim * self.shape.dtype_bytes)

    @property
    def weights_bytes(self) -> float:
        """Bytes of weights that one step reads on one GPU."""
        layers = self.matrices.matrix_parameters * WEIGHT_BYTES[self.weights_dtype]
        return (layers + self.matrices.vocabulary_parameters * WEIGHT_BYTES["bf16"]) / self.tp

    @property
    def held_bytes(self) -> float:
        """Bytes of weights in the memory of one GPU: a step looks up rows of the input embedding and reads no more."""
        embedding = 0.0 if self.matrices.tied_embeddings else self.matrices.vocabulary_parameters
        return self.weights_bytes + embedding * WEIGHT_BYTES["bf16"] / self.tp

    @property
    def elementwise_bytes_per_token(self) -> float:
        """Bytes that norms, rope, activation and KV store move for one token on one GPU."""
        shape = self.shape
        heads = (2 * shape.query_heads + 4 * shape.kv_heads) * shape.head_dim
        shared = 8 * self.matrices.hidden_size
        split = (3 * self.matrices.intermediate_size + heads) / self.tp
        return ACTIVATION_BYTES * shape.layers * (shared + split)

    @property
    def launches(self) -> float:
        """Kernels that the host launches for one forward, all-reduces included."""
        norms = NORM_LAUNCHES if self.matrices.query_key_norm else 0
        return (LAYER_LAUNCHES + norms) * self.shape.layers + HEAD_LAUNCHES + self.all_reduces

    @property
    def all_reduces(self) -> float:
        """All-reduces of one forward."""
        return 2.0 * self.shape.layers if self.tp > 1 else 0.0

    @property
    def all_reduce_bytes_per_token(self) -> float:
        """Bytes that one GPU sends for one token in the all-reduces of a forward."""
        return self.all_reduces * ring_share(self.tp) * self.matrices.hidden_size * ACTIVATION_BYTES


def check(machine: Machine) -> None:
    """Refuse a machine that no engine runs.

    Raises
    ------
    InputError
        If the heads cannot be split over the GPUs, or the GPU has no fp8.
    """
    heads, kv = machine.shape.query_heads, machine.shape.kv_heads
    if heads % machine.tp or (kv % machine.tp and machine.tp % kv):
        raise InputError(f"--tp {machine.tp}: {heads} query and {kv} KV heads cannot be split over {machine.tp} GPUs")
    if machine.weights_dtype == "fp8" and machine.gpu.fp8_flops_per_s is None:
        raise InputError(f"--dtype fp8: {machine.gpu.name} has no fp8 tensor cores; expected bf16")


def machine_of(profile: Profile, gpu: Gpu) -> Machine:
    """Return what a profile was measured on.

    Raises
    ------
    InputError
        If the profile does not hold the sizes of the model's matrices.
    """
    model = profile.model
    if model.matrices is None:
        raise InputError(
            f"profile '{profile.id}' does not hold the sizes of its model's matrices (model.matrices); fit it again "
            "('ppdsim fit') from measurements of bf16 or fp8 weights with hidden_size and intermediate_size"
        )
    per_value = 2 * model.layers * model.kv_heads * model.head_dim
    return Machine(
        gpu=gpu,
        shape=shape_of(model, model.kv_bytes_per_token // per_value),
        matrices=Matrices.of(model.matrices),
        weights_dtype=model.matrices.weights_dtype,
        tp=profile.tensor_parallel_size,
    )
