"""The end of a run: manifest, profile, card. What the raw points become, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from ppdsim import __version__
from ppdsim.calibrate.drivers.base import EngineInfo, decoding
from ppdsim.calibrate.drivers.server_flags import kept_environment
from ppdsim.calibrate.live.journal import POINTS, SKIPPED
from ppdsim.calibrate.live.machine_notes import MACHINE_NOTE
from ppdsim.calibrate.live.record import server_name
from ppdsim.files import write_whole
from ppdsim.measurements import Gpu, Manifest, Model, read_manifest
from ppdsim.reading import sha256
from ppdsim.types import Arm, Transport

LIBRARIES = (
    "torch",
    "sglang",
    "sglang-kernel",
    "sgl-kernel",
    "flashinfer-python",
    "transformers",
    "mooncake-transfer-engine",
    "mooncake-transfer-engine-cuda13",
    "mooncake-transfer-engine-non-cuda",
    "sglang-router",
    "aiohttp",
)
"""Packages whose versions a profile depends on."""
SKIPPED_NOTE = "skipped"
"""How a note on a cell that could not be measured begins."""


def write_manifest(
    folder: Path,
    *,
    run_id: str,
    machine: str,
    gpu: Gpu,
    link: str,
    transports: tuple[Transport, ...],
    model: Model,
    servers: Mapping[str, Mapping[str, EngineInfo]],
    kv_pools_tokens: Mapping[Arm, int],
    notes: tuple[str, ...],
    replaced: tuple[str, ...] = (),
) -> Manifest:
    """Write ``manifest.json`` beside the points and return it; what an earlier call found on other arms stays in it.

    `servers` are those of each service by role, of all calls. Earlier notes that begin with one of `replaced` do not.
    """
    points = folder / POINTS
    # The pool of the servers that a stream decodes on decides what fits.
    info = min(map(decoding, servers.values()), key=lambda found: found.kv_pool_tokens)
    flags = _words(info)
    path = folder / "manifest.json"
    earlier = read_manifest(folder) if path.is_file() else None
    if earlier is not None:
        transports = tuple(sorted({*earlier.transports, *transports}, key=lambda transport: transport.value))
        kv_pools_tokens = {**earlier.kv_pools_tokens, **kv_pools_tokens}
        # Notes on what was skipped and on the machine are of all calls already.
        gone = (SKIPPED_NOTE, MACHINE_NOTE, *replaced)
        notes = (*(note for note in earlier.notes if not note.startswith(gone)), *notes)
    manifest = Manifest(
        id=run_id,
        date=datetime.now(timezone.utc).date().isoformat(),
        machine=machine,
        gpu=gpu,
        link=link,
        transports=transports,
        model=model,
        engine=info.name,
        engine_version=info.version,
        libraries=versions(),
        server_flags=flags,
        role_flags={
            server_name(service, role): tuple(flag for flag in _words(one) if flag not in flags)
            for service, by_role in servers.items()
            for role, one in by_role.items()
        },
        environment=kept_environment(os.environ),
        page_size_tokens=info.page_size_tokens,
        chunked_prefill_size=info.chunked_prefill_size,
        kv_pool_tokens=min(kv_pools_tokens.values(), default=info.kv_pool_tokens),
        kv_pools_tokens=dict(sorted(kv_pools_tokens.items())),
        max_running_requests=info.max_running_requests,
        tensor_parallel_size=int(str(info.flags.get("tp_size", 1))),
        client=f"ppdsim {__version__}, aiohttp streaming, on the servers' host",
        notes=tuple(dict.fromkeys((*notes, *skipped(folder)))),
        source="ppdsim calibrate",
        points_file=POINTS,
        points_sha256=sha256(points),
    )
    write_whole(path, manifest.model_dump_json(by_alias=True, indent=1) + "\n")
    return manifest


def _words(info: EngineInfo) -> tuple[str, ...]:
    return tuple(f"{name}={info.flags[name]}" for name in sorted(info.flags))


def versions() -> dict[str, str]:
    """Return the versions of what is installed of `LIBRARIES`."""
    return {name: found for name in LIBRARIES if (found := _version(name)) is not None}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def skipped(folder: Path) -> tuple[str, ...]:
    """Return what could not be measured, a sentence each."""
    path = folder / SKIPPED
    if not path.exists():
        return ()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return tuple(dict.fromkeys(f"{SKIPPED_NOTE} {line['cell']}: {line['reason']}" for line in lines))
