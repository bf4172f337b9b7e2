"""The settings of the servers to start, as a YAML file: read, checked, and each key that a call does not read named.

Options of the command line go over the file. A settings file may serve several calls, so its unread keys are named; one
that is set for this call is refused. Which keys there are is the engine's: a pydantic model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ppdsim.errors import InputError
from ppdsim.machine.masking import is_secret, masked_line
from ppdsim.schema_keys import dotted_keys
from ppdsim.strict import explain
from ppdsim.yaml_file import read, scalar

M = TypeVar("M", bound=BaseModel)
Unread = Callable[[Iterable[str]], Mapping[str, str]]
"""Returns those of some keys that do not matter for the servers of a call, each with what it is for."""


def load_settings(kind: type[M], path: Path | None, options: Mapping[str, Any], assignments: Sequence[str] = ()) -> M:
    """Return the settings of a file with `options` over it, and ``key=value`` assignments over both.

    Parameters
    ----------
    kind : type
        The engine's settings.
    path : Path or None
        The file; without one, the defaults.
    options : mapping
        Values by key; None says nothing.
    assignments : sequence of str
        A dotted key and its value as it would stand in the file (``ports.prefill=31100``).

    Raises
    ------
    InputError
        If the file cannot be read or is malformed, a key or a value is wrong, or an option and an assignment say the
        same key.
    """
    named = {key: value for key, value in options.items() if value is not None}
    for text in assignments:
        if (key := text.partition("=")[0].split(".")[0]) in named:
            raise InputError(f"--set {key}: an option of this call gives {key} already; give one of them")
    content = content_of(path, assignments, named)
    try:
        # Through JSON, strict means what one expects: a list becomes a tuple, but "4" is no number.
        return kind.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if is_secret(where):
            text = f"'{where}': {first['msg'].lower()}"
        else:
            text = explain(error, dotted_keys(kind.model_json_schema()))
        hint = " (give --model)" if text == "missing key 'model'" else ""
        raise InputError(f"{path or 'settings'}: {masked_line(text)}{hint}") from None
    except (TypeError, ValueError, RecursionError) as error:
        said = masked_line(" ".join(str(error).split())[:200])
        raise InputError(f"{path or 'settings'}: no such setting ({said})") from None


def content_of(
    path: Path | None, assignments: Iterable[str], options: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the keys and values that are given, unchecked: of a file, of options, and assignments over both.

    Raises
    ------
    InputError
        If the file cannot be read or is malformed, or an assignment is.
    """
    content = {} if path is None else read(path, may_be_empty=True)[0]
    content.update(options)
    for text in assignments:
        _assign(content, text)
    return content


def _assign(content: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    shown = f"--set {masked_line(text)}"
    if not equals or not key:
        raise InputError(f"{shown}: expected KEY=VALUE, such as ports.prefill=31100")
    *parents, last = key.split(".")
    place = content
    for parent in parents:
        inner = place.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise InputError(f"{shown}: '{parent}' has no keys of its own")
        place = inner
    place[last] = scalar(value, shown)


def refuse_unread(assignments: Iterable[str], unread: Unread, *, instead: Mapping[str, str]) -> None:
    """Refuse a ``key=value`` of this call that its servers do not read.

    Parameters
    ----------
    assignments : iterable of str
        As given with ``--set``.
    unread : callable
        Which keys its servers do not read.
    instead : mapping
        Keys that the calling command never reads, and what says it there.

    Raises
    ------
    InputError
        Naming the key and what it is for.
    """
    keys = _leaves(content_of(None, assignments))
    for key in keys:
        if key in instead:
            raise InputError(f"--set {key}: not read here, {instead[key]}")
    for key, matters in unread(keys).items():
        raise InputError(f"--set {key}: not read by the servers of this call; for {matters}")


def unread_of_file(path: Path | None, unread: Unread, *, instead: Mapping[str, str]) -> str | None:
    """Return the line that names the keys of a file that this call does not read; None if it reads all."""
    keys = [] if path is None else _leaves(content_of(path, ()))
    found = {**{key: instead[key] for key in keys if key in instead}, **unread(keys)}
    return f"{path}: not read by this call: {', '.join(found)}" if found else None


def _leaves(content: Mapping[str, Any]) -> list[str]:
    """Return the keys, those of the ports one by one."""
    return [
        leaf
        for key, value in content.items()
        for leaf in ([f"{key}.{inner}" for inner in value] if key == "ports" and isinstance(value, dict) else [key])
    ]
