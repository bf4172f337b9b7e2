"""The one place where a user's file is opened: bounded, regular files only, UTF-8, plain or gzip.

A name may be a FIFO, a device or a folder; a file may unpack without end, hold another encoding, or a text that no
terminal and no other program takes. Each ends as one line that begins with the file's name. Rows are handed out as they
are read, so a long file costs no more memory than its longest line.

Not modelled: files that change while they are read; what is there at the time is read, up to the limit.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from ppdsim.errors import InputError
from ppdsim.limits import (
    CSV_COLUMNS,
    CSV_FIELD_CHARACTERS,
    DOCUMENT_BYTES,
    JSON_DEPTH,
    LINE_BYTES,
    MIB,
    ROWS_BYTES,
    UNPACKED_RATIO,
    Limit,
)

CHUNK_BYTES = MIB
"""What is read at a time [bytes]."""
UNPACKED_FREE_BYTES = 64 * MIB
"""What a gzip file may unpack to whatever its ratio [bytes]: a small file of equal rows packs very well."""
GZIP = b"\x1f\x8b"
"""First bytes of a gzip file (RFC 1952, section 2.3.1)."""
FOREIGN = {
    b"\x28\xb5\x2f\xfd": "packed with zstd; unpack it with 'zstd -d'",
    b"\xfd7zXZ\x00": "packed with xz; unpack it with 'xz -d'",
    b"BZh": "packed with bzip2; unpack it with 'bzip2 -d'",
    b"PK\x03\x04": "a zip archive; unpack it with 'unzip'",
    b"PAR1": "a parquet file; write it as CSV",
    b"\xff\xfe": "UTF-16 text, expected UTF-8; 'iconv -f UTF-16 -t UTF-8' converts it",
    b"\xfe\xff": "UTF-16 text, expected UTF-8; 'iconv -f UTF-16 -t UTF-8' converts it",
}
"""How files begin that people give by mistake, and what to do with them."""
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
KEY = re.compile(r'"\s*:')


def open_regular(path: Path, *, error: type[InputError] = InputError, hint: str = "") -> BinaryIO:
    """Open a regular file for reading; a FIFO is not waited for.

    Parameters
    ----------
    hint : str
        What the errors end with.

    Raises
    ------
    InputError
        Or the class `error`: if it cannot be opened or is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as problem:
        raise error(f"{path}: cannot be read ({getattr(problem, 'strerror', None) or problem}){hint}") from None
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise error(f"{path}: cannot be read ({KINDS.get(kind, 'no regular file')}, expected a file){hint}")
    return open(descriptor, "rb")  # noqa: PTH123  (a descriptor)


def raw_chunks(path: Path, *, limit: Limit, error: type[InputError] = InputError, hint: str = "") -> Iterator[bytes]:
    """Yield a file's bytes as they lie on disk.

    Raises
    ------
    InputError
        Or the class `error`: if it cannot be read, or is longer than `limit`.
    """
    with open_regular(path, error=error, hint=hint) as file:
        size = os.fstat(file.fileno()).st_size
        limit.check(size, f"{path}: size in bytes", error=error)
        yield from _bounded(file, path, limit, error)


def sha256(path: Path, *, limit: Limit = ROWS_BYTES, error: type[InputError] = InputError) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal; the errors are those of `raw_chunks`."""
    digest = hashlib.sha256()
    for chunk in raw_chunks(path, limit=limit, error=error):
        digest.update(chunk)
    return digest.hexdigest()


def chunks(path: Path, *, limit: Limit, error: type[InputError] = InputError, hint: str = "") -> Iterator[bytes]:
    """Yield a file's bytes, unpacked where it is gzip, without a byte order mark.

    Raises
    ------
    InputError
        Or the class `error`: if it cannot be read, is longer than `limit`, is a broken gzip, or one that unpacks to
        too many times its size, or begins as no text does.
    """
    with open_regular(path, error=error, hint=hint) as file:
        size = os.fstat(file.fileno()).st_size
        limit.check(size, f"{path}: size in bytes", error=error)
        first = file.read(len(GZIP))
        file.seek(0)
        if first != GZIP:
            yield from _text_begins(_bounded(file, path, limit, error), path, error)
            return
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield from _text_begins(_bounded(unpacked, path, limit, error, packed_bytes=size), path, error)
        except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
            raise error(f"{path}: broken gzip file ({problem})") from None


def read_text(
    path: Path, *, limit: Limit = DOCUMENT_BYTES, error: type[InputError] = InputError, hint: str = ""
) -> str:
    """Return a file's text; gzip is unpacked.

    Raises
    ------
    InputError
        Or the class `error`: as `chunks`, or if it is not UTF-8.
    """
    content = b"".join(chunks(path, limit=limit, error=error, hint=hint))
    try:
        return content.decode()
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise error(f"{path}:{line}: not UTF-8 text (byte 0x{content[problem.start]:02x})") from None


def read_json(
    path: Path, *, limit: Limit = DOCUMENT_BYTES, error: type[InputError] = InputError, hint: str = ""
) -> Any:
    """Return the JSON document that a file holds; the errors are those of `read_text` and `parse_json`."""
    return parse_json(read_text(path, limit=limit, error=error, hint=hint), str(path), error=error, hint=hint)


def lines(path: Path, *, limit: Limit = ROWS_BYTES, error: type[InputError] = InputError) -> Iterator[tuple[int, str]]:
    """Yield ``(number from 1, text)`` of every line that is not blank, as the file is read.

    Lines end with a line feed, which a carriage return may precede; other line breaks are part of a text.

    Raises
    ------
    InputError
        Or the class `error`: as `chunks`, or if a line is not UTF-8 or too long.
    """
    number, begun, name = 0, b"", str(path)
    for chunk in chunks(path, limit=limit, error=error):
        if not begun and chunk.isspace():
            # A file of line ends alone unpacks without end.
            number += chunk.count(b"\n")
            continue
        *whole, begun = (begun + chunk).split(b"\n")
        for raw in whole:
            number += 1
            if raw and not raw.isspace():
                yield number, _line(raw, name, number, error)
        LINE_BYTES.check(len(begun), f"{path}:{number + 1}: bytes in one line", error=error)
    if begun and not begun.isspace():
        yield number + 1, _line(begun, name, number + 1, error)


def json_lines(
    path: Path, *, limit: Limit = ROWS_BYTES, error: type[InputError] = InputError
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line, object)`` of a file with one JSON object a line.

    Raises
    ------
    InputError
        Or the class `error`: as `lines` and `parse_json`, or if a line is no object.
    """
    for number, text in lines(path, limit=limit, error=error):
        where = f"{path}:{number}"
        record = parse_json(text, where, error=error)
        if not isinstance(record, dict):
            raise error(f"{where}: expected a JSON object, got {type(record).__name__}")
        yield number, record


def csv_rows(
    path: Path, *, limit: Limit = ROWS_BYTES, error: type[InputError] = InputError
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield ``(line, row)`` of a CSV file with a header; the errors are those of `csv_fields`."""
    rows = csv_fields(path, limit=limit, error=error)
    for _, header in rows:
        for number, fields in rows:
            yield number, dict(zip(header, fields, strict=True))


def csv_fields(
    path: Path, *, limit: Limit = ROWS_BYTES, error: type[InputError] = InputError
) -> Iterator[tuple[int, list[str]]]:
    """Yield ``(line, fields)`` of a CSV file, its header first.

    Raises
    ------
    InputError
        Or the class `error`: as `lines`, or if it is not CSV, a column is there twice, or a row has another number of
        fields than the header.
    """
    number = 0

    def texts() -> Iterator[str]:
        nonlocal number
        for number, text in lines(path, limit=limit, error=error):  # noqa: B007  (read by the errors)
            yield text + "\n"

    reader = csv.reader(texts(), strict=True)
    width = 0
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as problem:
            where = f"{path}:{number}"
            if "field limit" in str(problem):
                raise error(CSV_FIELD_CHARACTERS.refusal(where, "a field is longer")) from None
            raise error(f"{where}: not CSV ({problem})") from None
        if fields is None:
            return
        if not width:
            fields = _header(fields, f"{path}:{number}", error)
            width = len(fields)
        if len(fields) != width:
            raise error(f"{path}:{number}: expected {width} fields, as in the header, got {len(fields)}")
        yield number, fields


def parse_json(
    text: str, where: object, *, error: type[InputError] = InputError, hint: str = "", python_numbers: bool = False
) -> Any:
    """Return the value of a JSON text.

    Parameters
    ----------
    python_numbers : bool
        Also take what Python's json module writes and JSON does not have: NaN, infinities, numbers of any length.

    Raises
    ------
    InputError
        Or the class `error`: if it is malformed (lone surrogates are), nested too deep, or an object has a key twice.
        The message begins with `where` and ends with `hint`.
    """
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        line = f":{problem.lineno}" if "\n" in text.strip() else ""
        malformed = error(f"{where}{line}: malformed JSON ({_reason(problem, text)}){hint}")
        if not python_numbers:
            raise malformed from None
        try:
            found = _python_json(text)
        except (ValueError, RecursionError):
            raise malformed from None
    # A flat row, as most are, needs no walk.
    flat = isinstance(found, dict) and text.count("{") == 1 and text.count("[") <= JSON_DEPTH.value
    keys, depth = (len(found), 1) if flat else _measure(found)
    if depth > JSON_DEPTH.value:
        raise error(JSON_DEPTH.refusal(where, "nested deeper"))
    if len(KEY.findall(text)) > keys:
        twice = _key_given_twice(text)
        if twice is not None:
            raise error(f"{where}: key '{twice}' is there twice")
    return found


def _bounded(
    file: Any, path: Path, limit: Limit, error: type[InputError], *, packed_bytes: int | None = None
) -> Iterator[bytes]:
    total = 0
    while True:
        try:
            chunk: bytes = file.read(CHUNK_BYTES)
        except gzip.BadGzipFile:
            raise
        except OSError as problem:
            raise error(f"{path}: cannot be read ({problem.strerror or problem})") from None
        if not chunk:
            return
        total += len(chunk)
        limit.check(total, f"{path}: bytes", error=error)
        if packed_bytes is not None and total > max(UNPACKED_FREE_BYTES, UNPACKED_RATIO.value * packed_bytes):
            raise error(UNPACKED_RATIO.refusal(str(path), f"{packed_bytes:,} bytes of gzip unpack to more"))
        yield chunk


def _text_begins(found: Iterator[bytes], path: Path, error: type[InputError]) -> Iterator[bytes]:
    """Drop a byte order mark, and refuse what is no text by its first bytes."""
    first = next(found, b"")
    for magic, what in FOREIGN.items():
        if first.startswith(magic):
            raise error(f"{path}: {what}")
    if first:
        yield first.removeprefix(b"\xef\xbb\xbf")
    yield from found


def _line(raw: bytes, name: str, number: int, error: type[InputError]) -> str:
    if len(raw) > LINE_BYTES.value:
        LINE_BYTES.check(len(raw), f"{name}:{number}: bytes in one line", error=error)
    try:
        return raw.decode().removesuffix("\r")
    except UnicodeDecodeError as problem:
        raise error(f"{name}:{number}: not UTF-8 text (byte 0x{raw[problem.start]:02x})") from None


def _header(fields: list[str], where: str, error: type[InputError]) -> list[str]:
    CSV_COLUMNS.check(len(fields), f"{where}: columns", error=error)
    if len(fields) == 1:
        for mark, name in ((";", "a semicolon"), ("\t", "a tab")):
            if mark in fields[0]:
                raise error(f"{where}: the header is parted by {name}, expected a comma")
    names = [name.strip() for name in fields]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise error(f"{where}: column '{twice}' is there twice")
    return names


def _reason(problem: json.JSONDecodeError, text: str) -> str:
    for word in ("NaN", "Infinity"):
        if text.startswith(word, problem.pos):
            return f"{word} is no number of JSON, at column {problem.colno}"
    return f"{problem.msg} at column {problem.colno}"


def _python_json(text: str) -> Any:
    """Return what Python's json module reads.

    Raises
    ------
    ValueError, RecursionError
        If it reads nothing, or a text with a lone surrogate.
    """
    found = json.loads(text)
    json.dumps(found, ensure_ascii=False).encode()
    return found


def _measure(document: Any) -> tuple[int, int]:
    """Return how many keys all objects of a document have, and how deep it is nested."""
    keys, depth, level = 0, 0, [document]
    while level:
        inner: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                keys += len(node)
                inner.extend(value for value in node.values() if isinstance(value, (dict, list)))
            elif isinstance(node, list):
                inner.extend(value for value in node if isinstance(value, (dict, list)))
        level, depth = inner, depth + 1
    return keys, depth


def _key_given_twice(text: str) -> str | None:
    twice: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        names = dict(found)
        if len(names) < len(found):
            seen: set[str] = set()
            twice.extend(key for key, _ in found if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        return names

    json.loads(text, object_pairs_hook=pairs)
    return twice[0] if twice else None
