"""The manifest of a measurement folder: machine, model, engine, flags, and the hash of its points."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import ConfigDict, Field, ValidationError

from ppdsim.errors import MeasurementError
from ppdsim.measurements.machine import Gpu, HardwareFloor, Model
from ppdsim.reading import read_json, sha256
from ppdsim.schema_keys import dotted_keys
from ppdsim.strict import Count, Strict, explain
from ppdsim.types import Arm, Transport

SCHEMA = "ppdsim/measurements/1"


class Manifest(Strict):
    """What was measured, on what, with which flags, and the hash of the points.

    `kv_pool_tokens` is the smallest pool of the run, `kv_pools_tokens` that of the servers of each arm. `server_flags`
    are of the server with the smallest pool, `role_flags` say of every server where its own are others. `cores` says in
    words which cores each server and the client may run on. `points_sha256` is empty until measuring has ended.
    """

    schema_: Literal["ppdsim/measurements/1"] = Field(default="ppdsim/measurements/1", alias="schema")
    id: str
    date: str
    machine: str
    gpu: Gpu
    link: str
    transports: tuple[Transport, ...]
    model: Model
    engine: str
    engine_version: str
    libraries: dict[str, str]
    server_flags: tuple[str, ...]
    role_flags: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)
    cores: dict[str, str] = Field(default_factory=dict)
    page_size_tokens: Count
    chunked_prefill_size: Count
    kv_pool_tokens: Count
    kv_pools_tokens: dict[Arm, Count] = Field(default_factory=dict)
    max_running_requests: Count | None = None
    tensor_parallel_size: Count
    client: str
    notes: tuple[str, ...] = ()
    source: str
    source_sha256: str | None = None
    points_file: str
    points_sha256: str

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def kv_pool_of(self, arm: Arm) -> int:
        """Return the KV pool of the servers that an arm was measured on [tokens]."""
        return self.kv_pools_tokens.get(arm, self.kv_pool_tokens)

    @property
    def floor(self) -> HardwareFloor:
        """The least believable times on this machine."""
        return HardwareFloor(gpu=self.gpu, model=self.model)


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json`` of a measurement folder.

    Raises
    ------
    MeasurementError
        If it is missing or malformed; the message names the key.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise MeasurementError(
            f"{folder}: no manifest.json; expected a folder of raw measurements (calibration/measurements/<id>)"
        )
    return check_manifest(read_json(path, error=MeasurementError), where=str(path))


def check_manifest(content: Any, *, where: str) -> Manifest:
    """Check a manifest against the schema.

    Raises
    ------
    MeasurementError
        Naming `where` and the key.
    """
    try:
        return Manifest.model_validate_json(orjson.dumps(content), strict=True)
    except ValidationError as error:
        raise MeasurementError(f"{where}: {explain(error, dotted_keys(Manifest.model_json_schema()))}") from None


def find_points(folder: Path, manifest: Manifest) -> Path:
    """Return the points file that the manifest names.

    Raises
    ------
    MeasurementError
        If it is not in that folder, or its hash is not the manifest's.
    """
    name = manifest.points_file
    path = folder / name
    # A manifest may be somebody else's: it names a file beside it, and no link leads to another one.
    if Path(name).name != name or "\\" in name or (path.is_symlink() and path.resolve().parent != folder.resolve()):
        raise MeasurementError(
            f"{folder}: manifest.json names points_file '{name}', expected a file in that folder, such as points.jsonl"
        )
    if not path.is_file():
        raise MeasurementError(f"{folder}: manifest.json names '{manifest.points_file}', which is not there")
    found = sha256(path, error=MeasurementError)
    if manifest.points_sha256 and found != manifest.points_sha256:
        raise MeasurementError(
            f"{path}: sha256 is {found[:12]}, manifest.json says {manifest.points_sha256[:12]}: the points were changed"
        )
    return path
