"""The bad inputs: every kind of file by every mutation, what was written by hand, and arguments of the command line.

A case is refused with one line, unless `harmless` says why it is right to take it.
"""

from __future__ import annotations

import copy
import gzip
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robust.by_hand import CROSSOVER, LINES, POINT_ROWS, SETTINGS, TABLES, YAML
from robust.kinds import KINDS, SMALL, TRACE, Kind, Place

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One input: `make` writes its files into a folder, `command` is what is run there."""

    name: str
    make: Callable[[Path], None]
    command: tuple[str, ...]
    harmless: str = ""


def all_cases() -> list[Case]:
    """Return every case, always in the same order."""
    return [*_mutated(), *_by_hand(), *_arguments()]


def valid_cases() -> list[Case]:
    """Return the valid file of each kind: what a refusal is compared with."""
    return [
        _case(kind, "as it is", lambda path, kind=kind: _put(path, kind.valid), harmless="valid")
        for kind in KINDS
        if not kind.slow
    ]


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**31)


FILES: dict[str, Callable[[Path, bytes], None]] = {
    "missing": lambda path, valid: None,
    "empty": lambda path, valid: _put(path, b""),
    "blank": lambda path, valid: _put(path, b" \n\n"),
    "a folder": lambda path, valid: path.mkdir(),
    "a FIFO": lambda path, valid: os.mkfifo(path),
    "/dev/zero": lambda path, valid: path.symlink_to("/dev/zero"),
    "2 GiB of nothing": lambda path, valid: _sparse(path),
    "random bytes": lambda path, valid: _put(path, bytes(range(128, 256)) * 64),
    "UTF-16": lambda path, valid: _put(path, valid.decode().encode("utf-16")),
    "a byte that is no UTF-8": lambda path, valid: _put(path, valid[:40] + b"\xff" + valid[40:]),
    "zstd": lambda path, valid: _put(path, b"\x28\xb5\x2f\xfd" + valid),
    "half": lambda path, valid: _put(path, valid[: len(valid) // 2]),
    "half a gzip": lambda path, valid: _put(path, gzip.compress(valid)[:-12]),
    "gzip without end": lambda path, valid: _put(path, gzip.compress(b"\n" * (70 * MIB), 1)),
    "10 MB of brackets": lambda path, valid: _put(path, b"[" * (10 * MIB)),
    "10 MB on one line": lambda path, valid: _put(path, b'{"a": "' + b"x" * (10 * MIB) + b'"}'),
    "10 MB of lines": lambda path, valid: _put(path, b"a: 1\n" * (2 * MIB)),
    "10 MB after it": lambda path, valid: _put(path, valid + b"\n" + b"%" * (10 * MIB)),
}
"""What is wrong with a file whatever its kind."""
GOOD_FILES: dict[str, tuple[Callable[[Path, bytes], None], str]] = {
    "a byte order mark": (lambda path, valid: _put(path, b"\xef\xbb\xbf" + valid), "the mark says UTF-8"),
    "gzip": (lambda path, valid: _put(path, gzip.compress(valid)), "gzip is read by its first bytes"),
}
NUMBERS: dict[str, str] = {
    "a text": '"many"',
    "nothing": "null",
    "NaN": "NaN",
    "minus one": "-1",
    "1e308": "1e308",
    "400 digits": "1" + "0" * 400,
    "a list": "[1]",
    "an object": "{}",
    "true": "true",
}
TEXTS = {"controls": "a\x1b[2J\x9b\x07\u202eb", "a formula": "=1+1", "a long text": "x" * 100_000}


def _case(kind: Kind, how: str, make: Callable[[Path], None], harmless: str = "") -> Case:
    def written(folder: Path) -> None:
        for name, content in kind.others.items():
            _put(folder / name, content)
        path = folder / kind.file
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
        if kind.after is not None:
            kind.after(path)

    command = tuple(part.replace("{file}", kind.file) for part in kind.command)
    return Case(name=f"{kind.name}: {how}", make=written, command=command, harmless=harmless)


def _mutated() -> Iterator[Case]:
    for kind in KINDS:
        for how, put in FILES.items():
            harmless = kind.may_end_anywhere if how in ("half", "10 MB after it") else ""
            yield _case(kind, how, lambda path, put=put, kind=kind: put(path, kind.valid), harmless)
        for how, (put, why) in ({} if kind.slow else GOOD_FILES).items():
            yield _case(kind, how, lambda path, put=put, kind=kind: put(path, kind.valid), why)
        yield from _edited(kind)


def _edited(kind: Kind) -> Iterator[Case]:
    """Yield edits of a document's values and keys."""

    def edit(how: str, change: Callable[[Any], Any], harmless: str = "", raw: tuple[str, str] | None = None) -> Case:
        content = kind.write(change(copy.deepcopy(kind.document())))
        if raw is not None:
            content = content.replace(json.dumps(raw[0]).encode(), raw[1].encode(), 1)
        return _case(kind, how, lambda path: _put(path, content), harmless)

    if kind.number is not None:
        for how, literal in NUMBERS.items():
            yield edit(
                f"{_dotted(kind.number)} is {how}",
                lambda document: _with(document, kind.number, "@number@"),
                harmless=kind.left_out if how in ("minus one", "1e308") else "",
                raw=("@number@", literal),
            )
    if kind.required is not None:
        yield edit(f"no {_dotted(kind.required)}", lambda document: _without(document, kind.required))
        yield edit(
            f"{_dotted(kind.required)} misspelt",
            lambda document: _renamed(document, kind.required, f"{kind.required[-1]}x"),
        )
        yield edit(
            f"{_dotted(kind.required)} twice",
            lambda document: _with(document, (*kind.required[:-1], "@twice@"), 1),
            raw=("@twice@", json.dumps(kind.required[-1])),
        )
        yield edit(
            "a lone surrogate", lambda document: _with(document, kind.required, "\ud800"), raw=("\ud800", '"\\ud800"')
        )
        yield edit(
            "nested 5,000 deep",
            lambda document: _with(document, kind.required, "@deep@"),
            raw=("@deep@", "[" * 5_000 + "]" * 5_000),
        )
    if kind.text is not None:
        for how, text in TEXTS.items():
            yield edit(
                f"{_dotted(kind.text)} is {how}",
                lambda document, text=text: _with(document, kind.text, text),
                "a text may say anything",
            )


def _dotted(place: Place | None) -> str:
    return ".".join(map(str, place or ()))


def _with(document: Any, place: Place | None, value: Any) -> Any:
    node = document
    for part in (place or ())[:-1]:
        node = node[part]
    node[(place or ())[-1]] = value
    return document


def _without(document: Any, place: Place | None) -> Any:
    node = document
    for part in (place or ())[:-1]:
        node = node[part]
    del node[(place or ())[-1]]
    return document


def _renamed(document: Any, place: Place | None, name: str) -> Any:
    node = document
    for part in (place or ())[:-1]:
        node = node[part]
    node[name] = node.pop((place or ())[-1])
    return document


def _by_hand() -> Iterator[Case]:
    for how, content in YAML.items():
        yield _written(f"yaml: {how}", "it.yaml", content, ("simulate", "it.yaml", "-o", "{out}"))
    for how, row in POINT_ROWS.items():
        yield _written(
            f"point: {how}", "it.jsonl", json.dumps(row).encode(), ("predict", "h200", "--points", "it.jsonl")
        )
    for how, content in TABLES.items():
        yield _written(
            f"table: {how}", "it.csv", content, ("predict", "h200", "--points", "it.csv", "-o", "{out}/p.csv")
        )
    for how, row in {
        "a negative time": '{"conversation_id": 1, "turn": 0, "arrival_s": -1.0, "new_tokens": 5, "output_tokens": 5}',
        "200,000 tokens": '{"conversation_id": 1, "turn": 0, "arrival_s": 0, "new_tokens": 200000, "output_tokens": 5}',
        "an array": "[1, 2]",
        "turn 1 without turn 0": '{"conversation_id": 1, "turn": 1, "think_s": 1, "new_tokens": 5, "output_tokens": 5}',
    }.items():
        case = _written(
            f"trace: {how}", "it.jsonl", row.encode(), tuple(p.replace("{file}", "it.jsonl") for p in TRACE)
        )
        yield Case(name=case.name, make=_and(case.make, "base.yaml", SMALL), command=case.command)


def _and(make: Callable[[Path], None], name: str, content: bytes) -> Callable[[Path], None]:
    def both(folder: Path) -> None:
        make(folder)
        _put(folder / name, content)

    return both


def _written(name: str, file: str, content: bytes, command: tuple[str, ...]) -> Case:
    return Case(name=name, make=lambda folder: _put(folder / file, content), command=command)


def _arguments() -> Iterator[Case]:
    def ready(folder: Path) -> None:
        _put(folder / "a-file", b"once upon a time\n")

    for setting in SETTINGS:
        yield Case(
            name=f"--set {setting[:40]}", make=ready, command=("simulate", "one-pair", "--set", setting, "-o", "{out}")
        )
    for setting in CROSSOVER:
        yield Case(
            name=f"--set {setting[:40]}",
            make=ready,
            command=("crossover", "cache-rate", "--set", setting, "-o", "{out}"),
        )
    for how, line in LINES.items():
        yield Case(name=f"line: {how}", make=ready, command=line)
