"""What a check may ask of a machine. Tests answer in its place, so that every problem can be had anywhere.

Libraries are imported in a process of their own: one that crashes, or hangs in its driver, ends that process and is a
finding.
"""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from ppdsim.machine.nvml import GpuFacts

IMPORT_TIMEOUT_S = 120.0
"""Bound on importing libraries [s]; torch takes some ten seconds from a cold disk, the engine several times that."""


class AbstractMachine(ABC):
    """The machine under examination."""

    @property
    @abstractmethod
    def python(self) -> tuple[int, int]:
        """Major and minor version of the Python that would run the servers."""

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Environment variables."""

    @abstractmethod
    def version(self, package: str) -> str | None:
        """Return the version of an installed distribution, or None."""

    @abstractmethod
    def import_error(self, *modules: str) -> str | None:
        """Return None if modules really import, one after another in one process, else what was said."""

    @abstractmethod
    def evaluate(self, expression: str) -> str | None:
        """Return ``str`` of a Python expression that a fresh process evaluates (``torch.version.cuda``), or None."""

    @abstractmethod
    def driver(self) -> str | None:
        """Return the version of the NVIDIA driver as NVML says it, or None where NVML does not answer."""

    @abstractmethod
    def gpus(self) -> tuple[GpuFacts, ...]:
        """Return the GPUs."""

    @abstractmethod
    def nvlink_lanes(self) -> Mapping[tuple[int, int], int]:
        """Return the active NVLink lanes between pairs of GPUs."""

    @abstractmethod
    def listing(self, folder: Path) -> tuple[str, ...]:
        """Return the names in a folder; empty where there is none."""

    @abstractmethod
    def read(self, path: Path) -> str | None:
        """Return a file's text, or None where it cannot be read."""

    @abstractmethod
    def port_is_free(self, port: int) -> bool:
        """Return whether a server could listen on a port of this host."""


class ThisMachine(AbstractMachine):
    """The machine that this runs on."""

    @property
    def python(self) -> tuple[int, int]:
        """Return the running interpreter's version."""
        return sys.version_info[0], sys.version_info[1]

    @property
    def environment(self) -> Mapping[str, str]:
        """Return this process's environment."""
        return os.environ

    def version(self, package: str) -> str | None:
        """Return the version of an installed distribution, or None."""
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return None

    def import_error(self, *modules: str) -> str | None:
        """Import modules in a process of their own."""
        code, text = self._python(f"import {', '.join(modules)}")
        return None if code == 0 else text

    def evaluate(self, expression: str) -> str | None:
        """Evaluate an expression in a process of its own; modules that it names are imported."""
        code, text = self._python(f"import {expression.split('.', 1)[0]}; print({expression})")
        return text.strip().splitlines()[-1] if code == 0 and text.strip() else None

    def _python(self, program: str) -> tuple[int, str]:
        try:
            ran = subprocess.run(  # noqa: S603
                [sys.executable, "-c", program],
                capture_output=True,
                text=True,
                timeout=IMPORT_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return 1, f"did not end within {IMPORT_TIMEOUT_S:g} s"
        if ran.returncode < 0:
            return ran.returncode, f"{ran.stderr}\nthe process was killed by signal {-ran.returncode}"
        return ran.returncode, ran.stdout if ran.returncode == 0 else ran.stderr

    def driver(self) -> str | None:
        """Ask NVML."""
        from ppdsim.machine.nvml import driver_version

        return driver_version()

    def gpus(self) -> tuple[GpuFacts, ...]:
        """Ask NVML."""
        from ppdsim.machine.nvml import gpu_facts

        return gpu_facts()

    def nvlink_lanes(self) -> Mapping[tuple[int, int], int]:
        """Ask NVML."""
        from ppdsim.machine.nvml import lanes_between

        return lanes_between()

    def listing(self, folder: Path) -> tuple[str, ...]:
        """List a folder."""
        try:
            return tuple(sorted(path.name for path in folder.iterdir()))
        except OSError:
            return ()

    def read(self, path: Path) -> str | None:
        """Read a file."""
        try:
            return path.read_text(errors="replace")
        except OSError:
            return None

    def port_is_free(self, port: int) -> bool:
        """Bind it for a moment."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            if platform.system() != "Windows":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
        return True
