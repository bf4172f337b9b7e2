"""Machines that exist only in tests: a healthy pair of GPUs, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ppdsim.engines.sglang.doctor.software import TORCH
from ppdsim.machine.host import AbstractMachine
from ppdsim.machine.nvml import GpuFacts

H200 = GpuFacts(
    name="NVIDIA H200",
    memory_bytes=143_771 * 2**20,
    free_bytes=143_000 * 2**20,
    compute_capability="9.0",
    sm_mhz=1980,
    max_sm_mhz=1980,
)
VALUES = {
    TORCH: "13.0 True",
    "ctypes.CDLL('libnvidia-ml.so.1')": "<CDLL 'libnvidia-ml.so.1', handle 1 at 0x1>",
}
"""What Python expressions give on a machine as it should be."""
SOURCES = """deb http://archive.ubuntu.com/ubuntu jammy main
# deb http://OLD_MIRROR/ubuntu jammy main
deb [signed-by=/usr/share/keyrings/x.gpg] https://packages.example.org/x86_64/ ./
"""
LISTS = (
    "archive.ubuntu.com_ubuntu_dists_jammy_InRelease",
    "archive.ubuntu.com_ubuntu_dists_jammy_main_binary-amd64_Packages",
    "packages.example.org_x86%5f64_._Release",
    "partial",
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
            "flashinfer-python": "0.6.15.post1",
            "transformers": "5.12.1",
            "mooncake-transfer-engine-cuda13": "0.3.14",
            "sglang-router": "0.3.2",
        }
    )
    import_errors: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=lambda: VALUES)
    driver_version: str | None = "580.159.04"
    cards: tuple[GpuFacts, ...] = (H200, H200)
    lanes: Mapping[tuple[int, int], int] = field(default_factory=lambda: {(0, 1): 18})
    folders: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"/sys/class/infiniband": ("mlx5_0", "mlx5_1"), "/var/lib/apt/lists": LISTS}
    )
    files: Mapping[str, str] = field(default_factory=lambda: {"/etc/apt/sources.list": SOURCES})
    taken: tuple[int, ...] = ()

    @property
    def python(self) -> tuple[int, int]:
        return self.python_version

    @property
    def environment(self) -> Mapping[str, str]:
        return self.variables

    def version(self, package: str) -> str | None:
        return self.versions.get(package)

    def import_error(self, *modules: str) -> str | None:
        return next((self.import_errors[module] for module in modules if module in self.import_errors), None)

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
