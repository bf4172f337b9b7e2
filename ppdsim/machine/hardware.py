"""What a GPU and a link can do at best: ``calibration/hardware.yaml`` and ``calibration/links.yaml``.

Each number stands in the file with its kind (data sheet or measured) and its source; here only the value is kept. What
a machine reaches of these limits is not here: that comes from a measured profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ppdsim import library
from ppdsim.errors import InputError, nearest, unknown
from ppdsim.types import Transport
from ppdsim.yaml_file import read

E = TypeVar("E", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Number(_Strict):
    value: float = Field(ge=1e-12, le=1e18, allow_inf_nan=False)  # from a picosecond to an exaFLOP/s
    kind: Literal["data-sheet", "measured", "assumed"]
    source: str = Field(min_length=1)


class _GpuEntry(_Strict):
    names: tuple[str, ...] = Field(min_length=1)
    architecture: str
    peer_link: str
    memory_bytes: _Number
    memory_bandwidth_bytes_per_s: _Number
    bf16_flops_per_s: _Number
    fp8_flops_per_s: _Number | None = None
    multiprocessors: _Number


class _LinkEntry(_Strict):
    transport: Transport | None = None
    bandwidth_bytes_per_s: _Number
    latency_s: _Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link: bytes a second in one direction, seconds of a small message, the hand-off it can carry (or None)."""

    name: str
    transport: Transport | None
    bandwidth_bytes_per_s: float
    latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU's limits; `fp8_flops_per_s` is None where its tensor cores have no fp8."""

    name: str
    engine_names: tuple[str, ...]
    architecture: str
    peer: Link
    memory_bytes: float
    memory_bandwidth_bytes_per_s: float
    bf16_flops_per_s: float
    fp8_flops_per_s: float | None
    multiprocessors: float


def links() -> dict[str, Link]:
    """Return the known links by name.

    Raises
    ------
    InputError
        If the file is malformed; the message names file and key.
    """
    return read_links(library.shipped("links.yaml"))


def gpus() -> dict[str, Gpu]:
    """Return the known GPUs by name.

    Raises
    ------
    InputError
        If a file is malformed; the message names file and key.
    """
    return read_gpus(library.shipped("hardware.yaml"), links())


def read_links(path: Path) -> dict[str, Link]:
    """Read links by name; the errors are those of `links`."""
    return {
        name: Link(
            name=name,
            transport=entry.transport,
            bandwidth_bytes_per_s=entry.bandwidth_bytes_per_s.value,
            latency_s=entry.latency_s.value,
        )
        for name, entry in _read(path, _LinkEntry).items()
    }


def read_gpus(path: Path, known: Mapping[str, Link]) -> dict[str, Gpu]:
    """Read GPUs by name, whose peer links are among the `known` ones; the errors are those of `gpus`."""
    entries = _read(path, _GpuEntry)
    for name, entry in entries.items():
        if entry.peer_link not in known:
            raise InputError(
                f"{path}: {name!r}.peer_link: given {entry.peer_link!r}, expected one of {', '.join(known)}"
                f"{nearest(entry.peer_link, known)}"
            )
    return {
        name: Gpu(
            name=name,
            engine_names=entry.names,
            architecture=entry.architecture,
            peer=known[entry.peer_link],
            memory_bytes=entry.memory_bytes.value,
            memory_bandwidth_bytes_per_s=entry.memory_bandwidth_bytes_per_s.value,
            bf16_flops_per_s=entry.bf16_flops_per_s.value,
            fp8_flops_per_s=None if entry.fp8_flops_per_s is None else entry.fp8_flops_per_s.value,
            multiprocessors=entry.multiprocessors.value,
        )
        for name, entry in entries.items()
    }


def find_gpu(name: str) -> Gpu:
    """Return a GPU by its name here, or by the name that the driver gives it.

    Raises
    ------
    UnknownNameError
        Listing the known ones.
    """
    found = known_gpu(name)
    if found is None:
        raise unknown("GPU", name, gpus(), hint="(calibration/hardware.yaml)")
    return found


def known_gpu(name: str) -> Gpu | None:
    """Return a GPU by its name here or that of the driver; None for one that is not known."""
    return next((gpu for gpu in gpus().values() if name in (gpu.name, *gpu.engine_names)), None)


def multiprocessors_of(name: str) -> float | None:
    """Return the multiprocessors of a GPU by its name here or that of the driver; None for one that is not known.

    >>> multiprocessors_of("NVIDIA H200"), multiprocessors_of("made-up")
    (132.0, None)
    """
    found = known_gpu(name)
    return None if found is None else found.multiprocessors


def same_gpu(first: str, second: str) -> bool:
    """Return whether two names, here or of the driver, are of one GPU; names that are not known must be equal.

    >>> same_gpu("NVIDIA H100", "H100-SXM"), same_gpu("NVIDIA H100", "NVIDIA H200"), same_gpu("a", "a")
    (True, False, True)
    """
    return first == second or any({first, second} <= {gpu.name, *gpu.engine_names} for gpu in gpus().values())


def find_link(name: str) -> Link:
    """Return a link by name.

    Raises
    ------
    UnknownNameError
        Listing the known ones.
    """
    known = links()
    if name not in known:
        raise unknown("link", name, known, hint="(calibration/links.yaml)")
    return known[name]


def _read(path: Path, entry: type[E]) -> dict[str, E]:
    try:
        return TypeAdapter(dict[str, entry]).validate_python(read(path)[0])  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors()[0]
        key, given = ".".join(str(part) for part in first["loc"]), str(first.get("input"))[:80]
        raise InputError(f"{path}: {key!r} = {given!r}: {first['msg'].lower()}") from None
