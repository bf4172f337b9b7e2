"""The least time that a machine needs, from data sheets: what is faster was not measured."""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.measurements.machine import Gpu, Model


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
