"""Known troubles of the engine stack: what their symptom looks like, what it means, and the command that mends it.

One table for everything that reads an error or a log: doctor, the servers' logs, the transfer driver. The first match
wins, so a special trouble stands before a general one. Patterns are from the engines' own messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A named trouble: `reason` in words, `mend` as a command to paste or a flag to change."""

    name: str
    reason: str
    mend: str


TROUBLES: tuple[tuple[str, Trouble], ...] = (
    (
        r"undefined symbol.*|sgl_kernel.*undefined symbol",
        Trouble(
            name="kernel-package",
            reason="the engine's kernel package was built for another PyTorch",
            mend="pip install --upgrade --no-cache-dir sglang-kernel  # sgl-kernel before SGLang 0.5.10",
        ),
    ),
    (
        r"libibverbs\.so\.1|librdmacm\.so\.1|libmlx5\.so\.1",
        Trouble(
            name="rdma-libraries",
            reason="mooncake links the RDMA libraries even for TCP, and they are not installed",
            mend="apt-get install -y libibverbs1 rdma-core",
        ),
    ),
    (
        r"[Nn]o RDMA devices? found|No available RNIC|Failed to (?:open|get) .*RDMA device",
        Trouble(
            name="no-rdma-device",
            reason="mooncake looked for an RDMA device and this machine has none",
            mend="ppdsim serve --use-tcp  # sets MC_FORCE_TCP=1 and MC_TCP_ENABLE_CONNECTION_POOL=1",
        ),
    ),
    (
        r"invalid device ordinal",
        Trouble(
            name="device-ordinal",
            reason="--base-gpu-id counts inside CUDA_VISIBLE_DEVICES, where the device is GPU 0",
            mend="leave --base-gpu-id out when CUDA_VISIBLE_DEVICES is set",
        ),
    ),
    (
        r"does not have a Release file|Failed to fetch http|Temporary failure resolving|404 +Not Found.*ubuntu|"
        r"Some index files failed to download",
        Trouble(
            name="apt-sources",
            reason="the APT sources name a mirror that does not answer",
            mend="sed -i 's|OLD_MIRROR|NEW_MIRROR|g' /etc/apt/sources.list && apt-get update",
        ),
    ),
    (
        r"CUDA out of memory|OutOfMemoryError|Not enough memory\. Please try to increase|"
        r"max_total_num_tokens.*(?:<=|is not) *0",
        Trouble(
            name="out-of-memory",
            reason="the GPU has not enough free memory for the weights and the KV pool",
            mend="lower --mem-fraction-static or --max-total-tokens, or stop what else runs on the GPU (nvidia-smi)",
        ),
    ),
    (
        r"[Aa]ddress already in use|Errno 98|port .* is already in use",
        Trouble(
            name="port-taken",
            reason="another program holds the port",
            mend="ss -ltnp  # find who listens there, or choose another port",
        ),
    ),
    (
        r"qwen3_asr' is already used by a Transformers config",
        Trouble(
            name="transformers-version",
            reason="this transformers does not go with this SGLang",
            mend="pip install transformers==5.12.1 'huggingface-hub<2'",
        ),
    ),
    (
        r"cannot open shared object file|No module named '?([\w.]+)|ModuleNotFoundError|ImportError",
        Trouble(
            name="missing-library",
            reason="a library that the program needs is not installed",
            mend="ppdsim doctor  # says which, and how to install it",
        ),
    ),
    (
        r"\bKilled\b|signal 9|SIGKILL|exit(?:ed)? (?:code|status) -?9\b|returncode -9",
        Trouble(
            name="killed",
            reason="the process was killed, most often because the host ran out of memory",
            mend="dmesg | tail  # says whether the kernel's out-of-memory killer did it",
        ),
    ),
)
"""(pattern, trouble), special before general. Sources: the stack's own troubleshooting notes, SGLang 0.5.17 and
Mooncake error texts."""


def recognise(text: str) -> Trouble | None:
    """Return the first known trouble whose symptom is in an error message or a log.

    >>> recognise("ImportError: libibverbs.so.1: cannot open shared object file").name
    'rdma-libraries'
    >>> recognise("all is well") is None
    True
    """
    return next((trouble for pattern, trouble in TROUBLES if re.search(pattern, text)), None)
