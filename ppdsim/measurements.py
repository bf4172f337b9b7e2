"""Raw measurements on disk: ``<id>/points.jsonl[.gz]`` (or .csv) beside ``<id>/manifest.json``; one schema for all.

A row is one of five kinds, told apart by ``kind``: `prefill` (one turn at idle machines), `decode` (steady inter-token
latency of a batch), `interference` (appends injected into decoding streams), `load` (a turn of a multi-turn load) and
`transfer` (bytes over the link alone). Names are the glossary's, every quantity has a unit suffix, times are seconds.
``ppdsim schema measurements`` prints the JSON Schema.

A file that is not of this form is an error with its line. A row of the right form that cannot be true (see
`impossible`) is refused: left out, counted, and shown by every command that reads it.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ppdsim.errors import MeasurementError, nearest
from ppdsim.types import Arm, Transport

SCHEMA = "ppdsim/measurements/1"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PrefillRow(_Strict):
    """One turn at idle machines: cached_tokens on D (L), new_tokens (m), what P had cached, and the client's TTFT."""

    kind: Literal["prefill"] = "prefill"
    arm: Arm
    transport: Transport
    cached_tokens: int
    new_tokens: int
    prefill_cached_tokens: int | None = None
    found_cached_tokens: int
    repeat: int
    elapsed_s: float
    ttft_s: float
    itl_s: float | None = None
    output_tokens: int
    finish_reason: str
    retractions: int = 0
    server_received_unix_s: float | None = None
    server_dispatched_s: float | None = None
    server_forward_entry_s: float | None = None
    server_prefill_finished_s: float | None = None
    server_first_response_s: float | None = None
    server_finished_s: float | None = None
    server_queue_s: float | None = None
    server_e2e_s: float | None = None
    server_decode_tokens_per_s: float | None = None


class DecodeRow(_Strict):
    """`batch` streams decoding together; `generated_tokens` is how far they had got on average in the window."""

    kind: Literal["decode"] = "decode"
    batch: int
    prompt_tokens: int
    generated_tokens: float
    gaps: int
    elapsed_s: float
    itl_median_s: float
    itl_mean_s: float
    window_s: float
    finish_reason: str


class InterferenceRow(_Strict):
    """Appends injected one after another into `batch` decoding streams; one tuple entry an append."""

    kind: Literal["interference"] = "interference"
    batch: int
    prompt_tokens: int
    generated_tokens: float
    cached_tokens: int
    new_tokens: int
    found_cached_tokens: tuple[int, ...]
    append_ttft_s: tuple[float, ...]
    stall_gap_s: tuple[float, ...]
    window_sum_s: tuple[float, ...]
    window_gaps: tuple[float, ...]
    itl_base_s: float
    all_running: bool
    elapsed_s: float
    finish_reason: str


class LoadRow(_Strict):
    """One turn of a multi-turn load, as the client saw it."""

    kind: Literal["load"] = "load"
    run: str
    arm: Arm
    transport: Transport
    conversation_id: str
    turn: int
    sent_s: float
    cached_tokens: int
    new_tokens: int
    output_tokens: int
    ttft_s: float
    tpot_s: float | None
    itl_max_s: float | None = None
    e2e_s: float
    finish_reason: str


class TransferRow(_Strict):
    """`size_bytes` in `blocks` pieces over the link alone."""

    kind: Literal["transfer"] = "transfer"
    transport: Transport
    size_bytes: int
    blocks: int
    repeat: int
    elapsed_s: float
    transfer_s: float


Row = Annotated[
    PrefillRow | DecodeRow | InterferenceRow | LoadRow | TransferRow,
    Field(discriminator="kind"),
]
_ROW: TypeAdapter[Any] = TypeAdapter(Row)
KINDS = ("prefill", "decode", "interference", "load", "transfer")


class Gpu(_Strict):
    """One kind of GPU; the two limits are data-sheet numbers and set the floor under a believable first token."""

    name: str
    count: int
    memory_bandwidth_bytes_per_s: float
    peak_flops_per_s: float
    limits_source: str


class Model(_Strict):
    """Shape of the dense transformer under test."""

    name: str
    layers: int
    kv_heads: int
    query_heads: int
    head_dim: int
    dtype: str
    dtype_bytes: int
    matrix_parameters: float
    vocabulary_parameters: float
    weights: str


class Manifest(_Strict):
    """What was measured, on what, with which flags, and the hash of the points."""

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
    environment: dict[str, str] = {}
    page_size_tokens: int
    chunked_prefill_size: int
    kv_pool_tokens: int
    max_running_requests: int | None = None
    tensor_parallel_size: int
    client: str
    notes: tuple[str, ...] = ()
    source: str
    source_sha256: str | None = None
    points_file: str
    points_sha256: str

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @property
    def weight_read_floor_s(self) -> float:
        """Seconds to read all weights once: no forward can be faster [s]."""
        weights_bytes = (self.model.matrix_parameters + self.model.vocabulary_parameters) * self.model.dtype_bytes
        return weights_bytes / self.gpu.memory_bandwidth_bytes_per_s

    def first_token_floor_s(self, new_tokens: int) -> float:
        """Return the least believable TTFT [s] for `new_tokens`: weight read, or 2 x parameters x tokens of FLOPs."""
        flops = 2.0 * self.model.matrix_parameters * new_tokens
        return max(self.weight_read_floor_s, flops / self.gpu.peak_flops_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A row that was left out: its number in the file (from 1) and why."""

    row: int
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """The believable rows of one run, what was refused, and where it came from."""

    manifest: Manifest
    path: Path
    prefill: tuple[PrefillRow, ...]
    decode: tuple[DecodeRow, ...]
    interference: tuple[InterferenceRow, ...]
    load: tuple[LoadRow, ...]
    transfer: tuple[TransferRow, ...]
    refused: tuple[Refused, ...]

    def describe(self) -> str:
        """Return one line: rows per kind, and how many were refused."""
        counts = ", ".join(f"{len(getattr(self, kind))} {kind}" for kind in KINDS if getattr(self, kind))
        return f"{self.manifest.id}: {counts or 'no rows'}; {len(self.refused)} refused"


def impossible(row: Any, manifest: Manifest) -> str | None:
    """Return why a well-formed row cannot be true, or None.

    Checked: negative times, cached_tokens above the prompt or other than intended, requests that did not finish by
    length, streams that were not all running, and a first token faster than the hardware's floor.
    """
    for name, value in row.model_dump().items():
        if name.endswith("_s"):
            for number in value if isinstance(value, tuple) else (value,):
                if number is not None and number < 0.0:
                    return f"negative time {name}={number}"
    if getattr(row, "finish_reason", "length") != "length":
        return f"request ended with finish_reason={row.finish_reason!r}, expected 'length'"
    if isinstance(row, PrefillRow):
        prompt = row.cached_tokens + row.new_tokens
        if row.found_cached_tokens > prompt:
            return f"found_cached_tokens={row.found_cached_tokens} is above the prompt of {prompt} tokens"
        if row.found_cached_tokens != row.cached_tokens:
            return f"found_cached_tokens={row.found_cached_tokens}, intended {row.cached_tokens}"
        floor_s = manifest.first_token_floor_s(row.new_tokens)
        if row.ttft_s < floor_s:
            return f"ttft_s={row.ttft_s:.6f} is below the hardware's floor of {floor_s:.6f} s"
    if isinstance(row, InterferenceRow):
        prompt = row.cached_tokens + row.new_tokens
        if max(row.found_cached_tokens, default=0) > prompt:
            return f"found_cached_tokens={max(row.found_cached_tokens)} is above the prompt of {prompt} tokens"
        if not row.all_running:
            return "not all streams were running"
    if isinstance(row, DecodeRow) and row.itl_median_s < manifest.weight_read_floor_s:
        return f"itl_median_s={row.itl_median_s:.6f} is below the weight-read floor"
    if isinstance(row, LoadRow) and row.ttft_s < manifest.first_token_floor_s(row.new_tokens):
        return f"ttft_s={row.ttft_s:.6f} is below the hardware's floor"
    return None


def find_points(folder: Path, manifest: Manifest) -> Path:
    """Return the points file that the manifest names.

    Raises
    ------
    MeasurementError
        If it is not there, or its hash is not the manifest's.
    """
    path = folder / manifest.points_file
    if not path.is_file():
        raise MeasurementError(f"{folder}: manifest.json names '{manifest.points_file}', which is not there")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != manifest.points_sha256:
        raise MeasurementError(
            f"{path}: sha256 is {found[:12]}, manifest.json says {manifest.points_sha256[:12]}: the points were changed"
        )
    return path


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
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MeasurementError(f"{path}: malformed JSON ({error})") from None
    return check_manifest(content, where=str(path))


def check_manifest(content: Any, *, where: str) -> Manifest:
    """Check a manifest against the schema.

    Raises
    ------
    MeasurementError
        Naming `where` and the key.
    """
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise MeasurementError(f"{where}: {explain(error, tuple(Manifest.model_fields))}") from None


def read(folder: Path) -> Measurements:
    """Read a measurement folder.

    Raises
    ------
    MeasurementError
        If the folder, the manifest or a line of the points is malformed (file and line are named).
    """
    manifest = read_manifest(folder)
    path = find_points(folder, manifest)
    kept: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    refused: list[Refused] = []
    for number, record in _records(path):
        row = parse_row(record, where=f"{path}:{number}")
        reason = impossible(row, manifest)
        if reason is None:
            kept[row.kind].append(row)
        else:
            refused.append(Refused(row=number, kind=row.kind, reason=reason))
    return Measurements(
        manifest=manifest,
        path=folder,
        refused=tuple(refused),
        **{kind: tuple(rows) for kind, rows in kept.items()},
    )


def parse_row(record: Any, *, where: str) -> Any:
    """Check one record against the schema.

    Raises
    ------
    MeasurementError
        Naming `where`, the field and the nearest valid field name.
    """
    if not isinstance(record, dict):
        raise MeasurementError(f"{where}: expected an object with a 'kind', got {type(record).__name__}")
    kind = record.get("kind")
    if kind not in KINDS:
        raise MeasurementError(f"{where}: kind={kind!r} is not one of {', '.join(KINDS)}{nearest(str(kind), KINDS)}")
    try:
        return _ROW.validate_python(record, strict=False)
    except ValidationError as error:
        models: dict[str, type[BaseModel]] = {
            "prefill": PrefillRow,
            "decode": DecodeRow,
            "interference": InterferenceRow,
            "load": LoadRow,
            "transfer": TransferRow,
        }
        model = models[kind]
        raise MeasurementError(f"{where}: {explain(error, tuple(model.model_fields))}") from None


def explain(error: ValidationError, fields: tuple[str, ...]) -> str:
    """Put the first schema error in one line: key, what was given, what was expected, nearest key."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if part not in KINDS)
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'{nearest(key, fields)}"
    if first["type"] == "missing":
        return f"missing key '{key}'"
    if first["type"] == "json_invalid":
        return f"malformed JSON ({first['msg']})"
    return f"'{key}' = {first.get('input')!r}: {first['msg'].lower()}"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a row and of the manifest."""
    return {
        "$id": SCHEMA,
        "row": _ROW.json_schema(),
        "manifest": Manifest.model_json_schema(by_alias=True),
    }


def _open_text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise MeasurementError(f"{path}: cannot be read as text ({error})") from None


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, record) of a JSONL or CSV file; in a CSV an empty field is absent and ``;`` splits."""
    text = _open_text(path)
    if ".csv" in path.suffixes:
        for number, record in enumerate(csv.DictReader(text.splitlines()), start=2):
            yield number, {k: v.split(";") if v and ";" in v else v for k, v in record.items() if v not in (None, "")}
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise MeasurementError(
                    f"{path}:{number}: malformed JSON ({error.msg} at column {error.colno})"
                ) from None
