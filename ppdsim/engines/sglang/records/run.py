"""From recorded files to a measurement folder: recognise, convert, check every row, write both files or neither."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ppdsim import measurements
from ppdsim.engines.sglang.records import bench_serving, grid, metrics_export, time_stats
from ppdsim.engines.sglang.records.converted import Converted
from ppdsim.engines.sglang.records.deployment import Deployment
from ppdsim.engines.sglang.records.recognise import Format, recognise
from ppdsim.engines.sglang.records.source import Source, read_source
from ppdsim.errors import MeasurementError
from ppdsim.files import whole
from ppdsim.limits import ROWS_BYTES
from ppdsim.reading import raw_chunks, read_json

CONVERTERS: Mapping[Format, Callable[[Sequence[Source], Deployment], Converted]] = {
    Format.GRID: grid.convert,
    Format.BENCH_SERVING: bench_serving.convert,
    Format.METRICS_EXPORT: metrics_export.convert,
    Format.TIME_STATS: time_stats.convert,
}


def read_manifest_template(path: Path) -> dict[str, Any]:
    """Read the manifest that describes the machine; hashes in it are ignored.

    Raises
    ------
    MeasurementError
        If it cannot be read or is not a JSON object.
    """
    content = read_json(path, error=MeasurementError)
    if not isinstance(content, dict):
        raise MeasurementError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def import_records(
    paths: Sequence[Path], manifest: Mapping[str, Any], folder: Path, *, said: Deployment
) -> tuple[Format, tuple[str, ...], list[Path]]:
    """Convert recorded files of one format into ``folder/points.jsonl.gz`` and ``folder/manifest.json``.

    `manifest` holds every manifest key but the points' file and hash, and the source's hash. What was left out is
    added to its notes. With several files the source's hash is that of all of them, one after another.

    Returns
    -------
    The format that was recognised, what was left out, and the files written.

    Raises
    ------
    MeasurementError
        If a file, a line or the manifest is malformed; nothing is written then.
    """
    described = measurements.check_manifest(
        {**manifest, "source_sha256": None, "points_file": "points.jsonl.gz", "points_sha256": ""}, where="manifest"
    )
    sources = [read_source(path) for path in paths]
    form = _one_format(sources)
    converted = CONVERTERS[form](sources, replace(said, transports=described.transports))
    if not converted.rows:
        raise MeasurementError(f"{paths[0]}: no rows: {'; '.join(converted.notes) or 'the file holds no request'}")
    points = gzip.compress("".join(_line(row) for row in converted.rows).encode(), 9, mtime=0)
    complete = {
        **manifest,
        "notes": [*described.notes, *converted.notes],
        "source_sha256": _digest(paths),
        "points_file": "points.jsonl.gz",
        "points_sha256": hashlib.sha256(points).hexdigest(),
    }
    text = json.dumps(complete, indent=2) + "\n"
    return form, converted.notes, _write(folder, {"points.jsonl.gz": points, "manifest.json": text.encode()})


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        for chunk in raw_chunks(path, limit=ROWS_BYTES, error=MeasurementError):
            digest.update(chunk)
    return digest.hexdigest()


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, separators=(",", ":")) + "\n"


def _one_format(sources: Sequence[Source]) -> Format:
    forms = [recognise(source) for source in sources]
    for source, form in zip(sources, forms, strict=True):
        if form is not forms[0]:
            raise MeasurementError(
                f"{source.path}: a {form.value}, but {sources[0].path} is a {forms[0].value}: import them apart"
            )
    return forms[0]


def _write(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    paths = {folder / name: content for name, content in contents.items()}
    with ExitStack() as files:
        for path, content in paths.items():
            files.enter_context(whole(path)).write_bytes(content)
    return list(paths)
