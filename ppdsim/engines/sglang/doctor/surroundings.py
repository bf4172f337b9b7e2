"""What surrounds the servers: the router, free ports, environment variables that get in the way, the model, a log."""

from __future__ import annotations

import shlex
from pathlib import Path

from ppdsim.engines.doctor.finding import Finding, Status, failure, ok, warning
from ppdsim.engines.logs import last_error, tail
from ppdsim.engines.sglang.doctor.imports import import_failure
from ppdsim.engines.sglang.known_issues import KNOWN_ISSUES
from ppdsim.errors import InputError
from ppdsim.machine.host import AbstractMachine
from ppdsim.machine.model_config import UNKNOWN, NotCovered, read_model

PORTS = {
    30000: "router",
    30100: "prefill",
    30200: "decode",
    30300: "unified",
    9000: "bootstrap",
    29000: "the router's metrics",
}
"""The ports that a stack takes unless told otherwise."""
ROUTER_MODULE = "sglang_router.launch_router"
"""What is started as the router."""
PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")


def check_router(machine: AbstractMachine) -> list[Finding]:
    """Return whether sglang-router is installed and really imports."""
    version = machine.version("sglang-router")
    if version is None:
        return [failure("router", "sglang-router is not installed", "pip install 'ppdsim[live]'")]
    error = machine.import_error(ROUTER_MODULE)
    if error is not None:
        fix = f"pip install --force-reinstall sglang-router=={version}"
        return [import_failure("router", f"sglang-router {version}", error, fix)]
    return [ok("router", f"sglang-router {version}, imports")]


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
        fix = "export no_proxy=127.0.0.1,localhost"
        found.append(warning("environment", f"{', '.join(proxies)} would stand before the servers of this host", fix))
    return found or [ok("environment", "nothing in the way")]


def check_model(folder: Path | None, machine: AbstractMachine) -> list[Finding]:
    """Return the model's shape, whether its weights and tokenizer are there, and how this machine would serve it."""
    if folder is None:
        return []
    try:
        model = read_model(folder, dummy_weights=False)
    except NotCovered as other:
        known = other.reason != UNKNOWN
        served = "served by the engine" if known else "the engine says whether it serves it"
        what = f"{other.architecture} ({other.reason})" if known else other.architecture
        shape = f"{folder.name}: {what}, {served}; ppdsim calibrate, fit and derive do not cover it"
        return [_files(folder, shape, Status.WARNING, machine)]
    except InputError as problem:
        return [failure("model", str(problem), "ppdsim doctor --model FOLDER  # a Hugging Face model with config.json")]
    kv_bytes = 2 * model.layers * model.kv_heads * model.head_dim * model.dtype_bytes
    shape = (
        f"{folder.name}: {model.layers} layers, {model.kv_heads} KV heads of {model.head_dim}, "
        f"{kv_bytes / 1024:.0f} KiB of KV a token"
    )
    return [_files(folder, shape, Status.OK, machine)]


def _files(folder: Path, shape: str, otherwise: Status, machine: AbstractMachine) -> Finding:
    """Return what a model's folder lacks; `otherwise` holds where it lacks nothing."""
    serve = f"ppdsim serve --model {shlex.quote(str(folder))} --unified-gpu 0"
    where = "" if machine.gpus() else "  # on a machine with a GPU"
    names = {path.name for path in folder.iterdir()}
    if not any(name.endswith((".safetensors", ".bin")) for name in names):
        return warning(
            "model", f"{shape}; no weights", f"{serve} --dummy-weights{where or '  # costs do not depend on them'}"
        )
    if not names & {"tokenizer.json", "tokenizer.model", "vocab.json"}:
        return warning("model", f"{shape}; no tokenizer", f"{serve} -- --skip-tokenizer-init{where}")
    return Finding(check="model", status=otherwise, found=f"{shape}; weights and tokenizer")


def check_log(path: Path | None) -> list[Finding]:
    """Return the known issue that somebody's log or error text shows, and its fix.

    Raises
    ------
    InputError
        If there is no such file.
    """
    if path is None:
        return []
    if not path.is_file():
        raise InputError(f"--log {path}: no such file, expected a log")
    lines = tail(path)
    found = KNOWN_ISSUES.cause(lines, None)
    if found.issue is None and (line := last_error(lines)) is not None:
        see = f"less {shlex.quote(str(path))}  # an error that this doctor does not know"
        return [warning("log", f"{path}: {line}", see)]
    if found.issue is None:
        return [ok("log", f"{path}: no error; it ends with: {found.line}")]
    return [failure("log", f"{found.issue.reason} ({found.issue.name}): {found.line}", found.issue.fix)]
