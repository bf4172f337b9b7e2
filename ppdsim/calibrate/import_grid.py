"""Converts a recorded P/D grid (JSON lines of the first live runs) into the measurement format.

The source has one JSON object a line, kinds `prefill`, `decode` and `interfere`. Server timestamps become durations
after the request was received, because absolute clocks of different processes must not be mixed; on P/D rows
``prefill_finished_time`` comes from another machine's clock and is dropped (docs/explanation/model.md, "Reading the
rows"). Streams are longer than their prompt by what they had generated: 32 tokens on average in a decode window of
fewer than 16 streams, 64 from 16 on, about 200 in an interference window.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppdsim import measurements
from ppdsim.errors import MeasurementError, nearest
from ppdsim.types import Arm, Transport

ARMS: Mapping[str, tuple[Arm, Transport]] = {
    "U": (Arm.APPEND_D, Transport.NONE),
    "PDfull_nvlink": (Arm.P_FULL, Transport.NVLINK),
    "PDfull_tcp": (Arm.P_FULL, Transport.TCP),
    "PDdelta_tcp": (Arm.P_DELTA, Transport.TCP),
}
GENERATED_TOKENS_SMALL_BATCH = 32.0
"""Tokens that a stream had generated on average in a decode window with fewer than 16 streams [tokens]."""
GENERATED_TOKENS_LARGE_BATCH = 64.0
"""The same from 16 streams on [tokens]; source: the README of the grid."""
GENERATED_TOKENS_INTERFERENCE = 200.0
"""The same in an interference window [tokens]; source: the README of the grid."""


def convert(record: Mapping[str, Any], repeat: int, *, where: str) -> dict[str, Any]:
    """Return one source record as a row of the measurement schema.

    Raises
    ------
    MeasurementError
        If the kind, the arm or a field of the record is unknown or missing.
    """
    converters = {"prefill": _prefill, "decode": _decode, "interfere": _interference}
    kind = record.get("kind")
    if kind not in converters:
        raise MeasurementError(f"{where}: kind={kind!r} is not one of prefill, decode, interfere")
    if record.get("arm") not in ARMS:
        raise MeasurementError(f"{where}: arm={record.get('arm')!r} is unknown{nearest(str(record.get('arm')), ARMS)}")
    try:
        row = converters[kind](record)
    except KeyError as error:
        raise MeasurementError(f"{where}: a {kind} record lacks the field {error.args[0]!r}") from None
    return {**row, "repeat": repeat} if kind == "prefill" else row


def _finish(record: Mapping[str, Any]) -> str:
    return "length" if record["ok"] else "abort"


def _prefill(record: Mapping[str, Any]) -> dict[str, Any]:
    arm, transport = ARMS[record["arm"]]
    server = record["srv"]
    received = server["request_received_ts"]
    one_machine = arm is Arm.APPEND_D
    return {
        "kind": "prefill",
        "arm": arm.value,
        "transport": transport.value,
        "cached_tokens": record["L"],
        "new_tokens": record["m"],
        "prefill_cached_tokens": None if one_machine else record["L"],
        "found_cached_tokens": record["cached"],
        "elapsed_s": record["t"],
        "ttft_s": record["ttft"],
        "itl_s": record["itl"],
        "output_tokens": server["completion_tokens"],
        "finish_reason": _finish(record),
        "retractions": server["num_retractions"],
        "server_received_unix_s": received,
        "server_dispatched_s": server["api_server_dispatch_finish_ts"] - received,
        "server_forward_entry_s": server["forward_entry_time"] - received,
        "server_prefill_finished_s": server["prefill_finished_time"] - received if one_machine else None,
        "server_first_response_s": server["response_sent_to_client_ts"] - received,
        "server_finished_s": server["request_finished_ts"] - received,
        "server_queue_s": server["queue_time"],
        "server_e2e_s": server["e2e_latency"],
        "server_decode_tokens_per_s": server["decode_throughput"],
    }


def _decode(record: Mapping[str, Any]) -> dict[str, Any]:
    batch = record["B"]
    return {
        "kind": "decode",
        "batch": batch,
        "prompt_tokens": record["ctx"],
        "generated_tokens": GENERATED_TOKENS_SMALL_BATCH if batch < 16 else GENERATED_TOKENS_LARGE_BATCH,
        "gaps": record["n"],
        "elapsed_s": record["t"],
        "itl_median_s": record["itl_med"],
        "itl_mean_s": record["itl_mean"],
        "window_s": record["window"],
        "finish_reason": _finish(record),
    }


def _interference(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": "interference",
        "batch": record["B"],
        "prompt_tokens": record["ctx"],
        "generated_tokens": GENERATED_TOKENS_INTERFERENCE,
        "cached_tokens": record["L"],
        "new_tokens": record["m"],
        "found_cached_tokens": record["cached"],
        "append_ttft_s": record["ttft"],
        "stall_gap_s": record["stall_max"],
        "window_sum_s": record["win_sum"],
        "window_gaps": record["win_n"],
        "itl_base_s": record["itl_base"],
        "all_running": record["all_running"],
        "elapsed_s": record["t"],
        "finish_reason": _finish(record),
    }


def read_manifest_template(path: Path) -> dict[str, Any]:
    """Read the manifest that describes the machine; hashes in it are ignored.

    Raises
    ------
    MeasurementError
        If it cannot be read or is not a JSON object.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise MeasurementError(f"{path}: cannot be read ({error.strerror})") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MeasurementError(f"{path}: malformed JSON ({error})") from None
    if not isinstance(content, dict):
        raise MeasurementError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def import_grid(source: Path, manifest: Mapping[str, Any], folder: Path) -> list[Path]:
    """Convert `source` into ``folder/points.jsonl.gz`` and ``folder/manifest.json``; return the files written.

    `manifest` holds every manifest key but the points' file and hash, and the source's hash.

    Raises
    ------
    MeasurementError
        If a line or the manifest is malformed; nothing is written then.
    """
    try:
        raw = source.read_bytes()
        lines = (gzip.decompress(raw) if source.suffix == ".gz" else raw).decode().splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise MeasurementError(f"{source}: cannot be read ({error})") from None
    seen: dict[tuple[Any, ...], int] = {}
    rows: list[str] = []
    for number, line in enumerate(lines, start=1):
        where = f"{source}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise MeasurementError(f"{where}: malformed JSON ({error.msg} at column {error.colno})") from None
        cell = (record.get("kind"), record.get("arm"), record.get("L"), record.get("m"), record.get("B"))
        repeat = seen.get(cell, 0)
        seen[cell] = repeat + 1
        row = convert(record, repeat, where=where)
        measurements.parse_row(row, where=where)
        rows.append(json.dumps(row, separators=(",", ":")))
    if not rows:
        raise MeasurementError(f"{source}: no rows")
    points = gzip.compress("".join(row + "\n" for row in rows).encode(), 9, mtime=0)
    complete = {
        **manifest,
        "source_sha256": hashlib.sha256(raw).hexdigest(),
        "points_file": "points.jsonl.gz",
        "points_sha256": hashlib.sha256(points).hexdigest(),
    }
    measurements.check_manifest(complete, where="manifest")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in (
        ("points.jsonl.gz", points),
        ("manifest.json", (json.dumps(complete, indent=2) + "\n").encode()),
    ):
        temporary = folder / f".{name}.part"
        temporary.write_bytes(content)
        os.replace(temporary, folder / name)
        written.append(folder / name)
    return written
