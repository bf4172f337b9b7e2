"""What surrounds the servers: the router, free ports, environment variables that get in the way, APT, the model."""

from __future__ import annotations

import re
from pathlib import Path

from ppdsim.calibrate.doctor.finding import Finding, failure, ok, warning
from ppdsim.calibrate.doctor.machine import AbstractMachine
from ppdsim.calibrate.live.model_config import read_model
from ppdsim.errors import InputError

PORTS = {30000: "router", 30100: "prefill", 30200: "decode", 9000: "bootstrap"}
"""The ports that a stack takes unless told otherwise."""
PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d/ubuntu.sources"))
ENDED_MIRRORS = re.compile(r"old-releases|OLD_MIRROR|archive\.debian\.org/debian(?!-)|file:/+nonexistent")
"""Mirrors of releases whose packages have moved, and the placeholder that people paste."""


def check_router(machine: AbstractMachine) -> list[Finding]:
    """Return whether sglang-router is installed."""
    version = machine.version("sglang-router")
    if version is None:
        return [failure("router", "sglang-router is not installed", "pip install 'ppdsim[live]'")]
    return [ok("router", f"sglang-router {version}")]


def check_ports(machine: AbstractMachine) -> list[Finding]:
    """Return which of the default ports are taken."""
    taken = [port for port in PORTS if not machine.port_is_free(port)]
    if taken:
        names = ", ".join(f"{port} ({PORTS[port]})" for port in taken)
        return [warning("ports", f"taken: {names}", "ss -ltnp  # who listens there? or choose other ports")]
    return [ok("ports", f"{', '.join(str(port) for port in PORTS)} are free")]


def check_environment(machine: AbstractMachine) -> list[Finding]:
    """Return variables that trip servers up: GPUs counted twice, and proxies in front of localhost."""
    found: list[Finding] = []
    visible = machine.environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        found.append(
            warning(
                "environment",
                f"CUDA_VISIBLE_DEVICES={visible}: inside it GPUs count from 0, so --base-gpu-id would be an invalid "
                "device ordinal",
                "unset CUDA_VISIBLE_DEVICES  # or leave --base-gpu-id out",
            )
        )
    proxies = [name for name in PROXIES if machine.environment.get(name)]
    exempt = machine.environment.get("no_proxy", "") + machine.environment.get("NO_PROXY", "")
    if proxies and "127.0.0.1" not in exempt and exempt.strip() != "*":
        mend = "export no_proxy=127.0.0.1,localhost"
        found.append(warning("environment", f"{', '.join(proxies)} would stand before the servers of this host", mend))
    return found or [ok("environment", "nothing in the way")]


def check_apt(machine: AbstractMachine) -> list[Finding]:
    """Return whether the APT sources name mirrors that no longer have the packages which the mends install."""
    for path in SOURCES:
        text = machine.read(path) or ""
        active = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        ended = ENDED_MIRRORS.search(active)
        if ended is not None:
            mend = f"sed -i 's|OLD_MIRROR|NEW_MIRROR|g' {path} && apt-get update"
            return [warning("apt", f"{path} names '{ended.group()}', which has no current packages", mend)]
    return []


def check_model(machine: AbstractMachine, folder: Path | None) -> list[Finding]:
    """Return the model's shape, and whether its weights and tokenizer are there."""
    del machine
    if folder is None:
        return []
    try:
        model = read_model(folder, dummy_weights=False)
    except InputError as problem:
        return [failure("model", str(problem), "ppdsim doctor --model FOLDER  # a Hugging Face model with config.json")]
    kv_bytes = 2 * model.layers * model.kv_heads * model.head_dim * model.dtype_bytes
    shape = (
        f"{folder.name}: {model.layers} layers, {model.kv_heads} KV heads of {model.head_dim}, "
        f"{kv_bytes / 1024:.0f} KiB of KV a token"
    )
    names = {path.name for path in folder.iterdir()}
    if not any(name.endswith((".safetensors", ".bin")) for name in names):
        return [warning("model", f"{shape}; no weights", "serve with --dummy-weights  # costs do not depend on them")]
    if not names & {"tokenizer.json", "tokenizer.model", "vocab.json"}:
        return [warning("model", f"{shape}; no tokenizer", "serve with --skip-tokenizer-init")]
    return [ok("model", f"{shape}; weights and tokenizer")]
