"""The end of a run: manifest, profile, card. What the raw points become, written whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from ppdsim import __version__
from ppdsim.engines import ENGINES
from ppdsim.engines.client import EngineInfo, decoding
from ppdsim.files import write_whole
from ppdsim.measure.journal import POINTS, SKIPPED
from ppdsim.measure.machine_notes import MACHINE_NOTE
from ppdsim.measure.record import RunRecord, server_name
from ppdsim.measure.run_file import read_skipped
from ppdsim.measurements import Gpu, Manifest, Model, read_manifest
from ppdsim.reading import sha256
from ppdsim.types import Arm, Transport

MANIFEST = "manifest.json"
ADDRESS = re.compile(r"https?://[^\s/'\"]+|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\[[0-9a-f:]+\](?::\d+)?", re.IGNORECASE)
"""An address in a note: a manifest is handed on, and where its servers were is not what it is read for."""
UNENDED_NOTE = "measuring has begun and not ended"
"""How the note of a manifest begins that was written before the rows."""
SKIPPED_NOTE = "skipped"
"""How a note on a cell that could not be measured begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a profile says of the machine it was measured on."""

    run_id: str
    name: str
    gpu: Gpu
    link: str
    model: Model


def write_manifest(
    folder: Path,
    machine: Machine,
    record: RunRecord,
    *,
    transports: Iterable[Transport],
    kv_pools_tokens: Mapping[Arm, int],
    notes: Iterable[str],
    replaced: tuple[str, ...] = (),
    ended: bool,
) -> Manifest:
    """Write ``manifest.json`` beside the points and return it; what an earlier call found on other arms stays in it.

    Parameters
    ----------
    folder : Path
        The folder of the run.
    machine : Machine
        What it was measured on.
    record : RunRecord
        The servers of each service by role, of all calls, and their cores.
    transports : iterable of Transport
        Links of this call.
    kv_pools_tokens : mapping
        The pool of the servers of each arm of this call [tokens].
    notes : iterable of str
        What is to be said of the run.
    replaced : tuple of str
        How earlier notes begin that do not stay.
    ended : bool
        Whether the rows are there. Before that, the points have no hash yet, and the manifest says so.
    """
    servers = record.servers
    # The pool of the servers that a stream decodes on decides what fits.
    info = min(map(decoding, servers.values()), key=lambda found: found.kv_pool_tokens)
    engine = ENGINES[info.name]
    flags, kept = _words(info), engine.kept
    path = folder / MANIFEST
    earlier = read_manifest(folder) if path.is_file() else None
    links, pools, said = set(transports), dict(kv_pools_tokens), list(notes)
    if earlier is not None:
        links |= set(earlier.transports)
        pools = {**earlier.kv_pools_tokens, **pools}
        # Notes on what was skipped and on the machine are of all calls already.
        gone = (SKIPPED_NOTE, MACHINE_NOTE, UNENDED_NOTE, *replaced)
        said = [*(note for note in earlier.notes if not note.startswith(gone)), *said]
    if not ended:
        said.append(f"{UNENDED_NOTE}: what is said here of rows and machine is not complete")
    manifest = Manifest(
        id=machine.run_id,
        date=datetime.now(timezone.utc).date().isoformat(),
        machine=machine.name,
        gpu=machine.gpu,
        link=machine.link,
        transports=tuple(sorted(links, key=lambda link: link.value)),
        model=machine.model,
        engine=info.name,
        engine_version=info.version,
        libraries=versions(kept.libraries),
        server_flags=flags,
        role_flags={
            server_name(service, role): tuple(flag for flag in _words(one) if flag not in flags)
            for service, by_role in servers.items()
            for role, one in by_role.items()
        },
        environment=kept.environment(os.environ),
        cores=record.cores,
        page_size_tokens=info.page_size_tokens,
        chunked_prefill_size=info.chunked_prefill_size,
        kv_pool_tokens=min(pools.values(), default=info.kv_pool_tokens),
        kv_pools_tokens=dict(sorted(pools.items())),
        max_running_requests=info.max_running_requests,
        tensor_parallel_size=int(str(info.flags.get("tp_size", 1))),
        client=f"ppdsim {__version__}, {' '.join((*engine.client_libraries, 'streaming'))}",
        notes=tuple(dict.fromkeys(ADDRESS.sub("the server", note) for note in (*said, *skipped(folder)))),
        source="ppdsim calibrate",
        points_file=POINTS,
        points_sha256=sha256(folder / POINTS) if ended else "",
    )
    write_whole(path, manifest.model_dump_json(by_alias=True, indent=1) + "\n")
    return manifest


def _words(info: EngineInfo) -> tuple[str, ...]:
    return tuple(f"{name}={info.flags[name]}" for name in sorted(info.flags))


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Return the versions of what is installed of some packages."""
    return {name: found for name in libraries if (found := _version(name)) is not None}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def skipped(folder: Path) -> tuple[str, ...]:
    """Return what could not be measured, a sentence each."""
    found, _ = read_skipped(folder / SKIPPED)
    return tuple(dict.fromkeys(f"{SKIPPED_NOTE} {cell}: {reason}" for cell, reason in found))
