"""From recorded files to a measurement folder: recognise, convert, check every row, write both files or neither.

What files there are to recognise is the engines': each says which of theirs a file is, and how its rows are read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ppdsim import measurements
from ppdsim.engines import ENGINES
from ppdsim.engines.records.converted import Converter
from ppdsim.engines.records.deployment import Deployment
from ppdsim.engines.records.source import Source, read_source
from ppdsim.errors import MeasurementError
from ppdsim.files import whole
from ppdsim.limits import ROWS_BYTES
from ppdsim.reading import raw_chunks, read_json


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
) -> tuple[str, tuple[str, ...], list[Path]]:
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
    form, convert = _one_format(sources)
    converted = convert(sources, replace(said, transports=described.transports))
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


def recognise(source: Source) -> tuple[str, Converter]:
    """Return the format of a recorded file, in words, and how it is read.

    Raises
    ------
    MeasurementError
        If it is none that is known; the message says what was looked for.
    """
    first = next(iter(source.filled()), None)
    if first is None:
        raise MeasurementError(f"{source.path}: no rows")
    number, line = first
    known = [engine.records for engine in ENGINES.values() if engine.records is not None]
    for records in known:
        form = records.recognise(source)
        if form is not None:
            return form, records.converters[form]
    shown = line.strip() if len(line.strip()) <= 60 else line.strip()[:57] + "..."
    raise MeasurementError(
        f"{source.where(number)}: unknown record format: expected "
        f"{'; or '.join(records.expected for records in known)}; got {shown!r}"
    )


def _one_format(sources: Sequence[Source]) -> tuple[str, Converter]:
    (first, convert), *rest = [recognise(source) for source in sources]
    for source, (form, _) in zip(sources[1:], rest, strict=True):
        if form != first:
            raise MeasurementError(
                f"{source.path}: a {form}, but {sources[0].path} is a {first}: import them separately"
            )
    return first, convert


def _write(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    paths = {folder / name: content for name, content in contents.items()}
    with ExitStack() as files:
        for path, content in paths.items():
            files.enter_context(whole(path)).write_bytes(content)
    return list(paths)
