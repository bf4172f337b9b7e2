"""What a run was measured on: GPU and model, and the least time that they need: what is faster was not measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ppdsim.limits import COUNT
from ppdsim.strict import Amount, Count, Strict


class Gpu(Strict):
    """One kind of GPU; the two limits are data-sheet numbers and set the floor under a believable first token.

    `count` is 0 where the client sees no GPU. `multiprocessors` may be left out of a GPU that calibration/hardware.yaml
    names.
    """

    name: str
    count: Annotated[int, Field(ge=0, le=COUNT.value)]
    memory_bandwidth_bytes_per_s: Amount
    peak_flops_per_s: Amount
    limits_source: str
    multiprocessors: Count | None = None


class Model(Strict):
    """Shape of the dense transformer under test.

    `context_tokens` is the model's longest context, None where nobody wrote it down. With `tied_embeddings` the input
    embedding is the vocabulary's matrix again, and a server holds it once. `weights_dtype` is that of the layers'
    weights: ``bf16`` (or float16), ``fp8``, or the name of another quantisation.
    """

    name: str
    layers: Count
    kv_heads: Count
    query_heads: Count
    head_dim: Count
    dtype: str
    dtype_bytes: Count
    matrix_parameters: Amount
    vocabulary_parameters: Amount
    weights: str
    hidden_size: Count | None = None
    intermediate_size: Count | None = None
    query_key_norm: bool = False
    tied_embeddings: bool = False
    weights_dtype: str = "bf16"
    context_tokens: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareFloor:
    """What no forward of a model on a GPU can be faster than."""

    gpu: Gpu
    model: Model

    @property
    def weight_read_s(self) -> float:
        """Seconds to read all weights once: no forward can be faster [s]."""
        weights_bytes = (self.model.matrix_parameters + self.model.vocabulary_parameters) * self.model.dtype_bytes
        return weights_bytes / self.gpu.memory_bandwidth_bytes_per_s

    def first_token_s(self, new_tokens: int) -> float:
        """Return the least believable TTFT [s] for `new_tokens`: weight read, or 2 x parameters x tokens of FLOPs."""
        flops = 2.0 * self.model.matrix_parameters * new_tokens
        return max(self.weight_read_s, flops / self.gpu.peak_flops_per_s)
