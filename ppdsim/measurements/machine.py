"""What a run was measured on: the GPU with its data-sheet limits, and the shape of the model."""

from __future__ import annotations

from pydantic import Field

from ppdsim.measurements.strict import Strict


class Gpu(Strict):
    """One kind of GPU; the two limits are data-sheet numbers and set the floor under a believable first token.

    `multiprocessors` may be left out of a GPU that calibration/hardware.yaml names.
    """

    name: str
    count: int
    memory_bandwidth_bytes_per_s: float
    peak_flops_per_s: float
    limits_source: str
    multiprocessors: int | None = Field(default=None, gt=0)


class Model(Strict):
    """Shape of the dense transformer under test.

    `context_tokens` is the model's longest context, None where nobody wrote it down. With `tied_embeddings` the input
    embedding is the vocabulary's matrix again, and a server holds it once. `weights_dtype` is that of the layers'
    weights: ``bf16`` (or float16), ``fp8``, or the name of another quantisation.
    """

    name: str
    layers: int
    kv_heads: int
    query_heads: int
    head_dim: int
    dtype: str
    dtype_bytes: int
    matrix_parameters: float
    vocabulary_parameters: float
    weights: str
    hidden_size: int | None = None
    intermediate_size: int | None = None
    query_key_norm: bool = False
    tied_embeddings: bool = False
    weights_dtype: str = "bf16"
    context_tokens: int | None = Field(default=None, gt=0)
