"""What a run was measured on: the GPU with its data-sheet limits, and the shape of the model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ppdsim.limits import COUNT
from ppdsim.measurements.strict import Amount, Count, Strict


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
