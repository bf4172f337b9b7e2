"""Machines that exist only in tests: a healthy pair of GPUs, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ppdsim.calibrate.doctor.machine import AbstractMachine, GpuFacts

H200 = GpuFacts(
    name="NVIDIA H200",
    memory_bytes=143_771 * 2**20,
    free_bytes=143_000 * 2**20,
    compute_capability="9.0",
    sm_mhz=1980,
    max_sm_mhz=1980,
)


@dataclass(frozen=True)
class FakeMachine(AbstractMachine):
    """Two H200s with SGLang 0.5.17, as it should be."""

    python_version: tuple[int, int] = (3, 12)
    variables: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(
        default_factory=lambda: {
            "torch": "2.11.0+cu130",
            "sglang": "0.5.17",
            "sglang-kernel": "0.4.5",
            "transformers": "5.12.1",
            "mooncake-transfer-engine-cuda13": "0.3.14",
            "sglang-router": "0.3.2",
        }
    )
    import_errors: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=lambda: {"torch.version.cuda": "13.0"})
    driver_version: str | None = "580.159.04"
    cards: tuple[GpuFacts, ...] = (H200, H200)
    lanes: Mapping[tuple[int, int], int] = field(default_factory=lambda: {(0, 1): 18})
    folders: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"/sys/class/infiniband": ("mlx5_0", "mlx5_1")}
    )
    files: Mapping[str, str] = field(default_factory=dict)
    taken: tuple[int, ...] = ()

    @property
    def python(self) -> tuple[int, int]:
        return self.python_version

    @property
    def environment(self) -> Mapping[str, str]:
        return self.variables

    def version(self, package: str) -> str | None:
        return self.versions.get(package)

    def import_error(self, module: str) -> str | None:
        return self.import_errors.get(module)

    def evaluate(self, expression: str) -> str | None:
        return self.values.get(expression)

    def driver(self) -> str | None:
        return self.driver_version

    def gpus(self) -> tuple[GpuFacts, ...]:
        return self.cards

    def nvlink_lanes(self) -> Mapping[tuple[int, int], int]:
        return self.lanes

    def listing(self, folder: Path) -> tuple[str, ...]:
        return self.folders.get(str(folder), ())

    def read(self, path: Path) -> str | None:
        return self.files.get(str(path))

    def port_is_free(self, port: int) -> bool:
        return port not in self.taken
