"""What the commands that start servers share: lists of GPUs, and progress on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from ppdsim.cli.common import overwrite_status, print_status

if TYPE_CHECKING:
    from ppdsim.engines.base import AbstractEngine
    from ppdsim.engines.launch.stack import Progress

ApiKeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key-env",
        metavar="NAME",
        help="Environment variable with the key that the servers want; sent, and written nowhere.",
    ),
]
EngineOption = Annotated[
    str | None,
    typer.Option("--engine", metavar="NAME", help="Engine of the servers, such as sglang; by default the only one."),
]
EVERY_S = 10.0
"""How often a line is printed for a server that is waited for [s], where stderr is no terminal."""


def gpus_of(option: str, text: str | None) -> list[int] | None:
    """Read a list of GPUs; None where the option was not given.

    Raises
    ------
    InputError
        If it is no list of numbers.
    """
    from ppdsim.errors import InputError

    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"{option} {text}: expected numbers of GPUs, such as 0 or 0,1")
    return [int(part) for part in parts]


def engine_of(name: str | None) -> AbstractEngine:
    """Return the engine that ``--engine`` names; without it, the only one that there is.

    Raises
    ------
    InputError
        If there is none of that name, or several to choose from.
    """
    from ppdsim.engines import ENGINES
    from ppdsim.errors import InputError, nearest

    expected = f"expected {' or '.join(ENGINES)}"
    if name is None and len(ENGINES) > 1:
        raise InputError(f"--engine: not given, {expected}")
    chosen = next(iter(ENGINES)) if name is None else name
    if chosen not in ENGINES:
        raise InputError(f"--engine {name}: no such engine, {expected}{nearest(chosen, ENGINES)}")
    return ENGINES[chosen]


def key_of(variable: str | None) -> str | None:
    """Return the key that servers want, from the environment variable that `--api-key-env` names; it is shown nowhere.

    Raises
    ------
    InputError
        If there is no such variable, or its value is no header's.
    """
    from ppdsim.errors import InputError

    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(f"--api-key-env {variable}: the environment has no such variable, or it is empty")
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"--api-key-env {variable}: its value has characters that no HTTP header can carry")
    return key


def url_of(option: str, text: str) -> str:
    """Return the address of a server.

    Raises
    ------
    InputError
        If it is no http address, or holds more than one: a name and a password would be shown wherever it is.
    """
    from ppdsim.errors import InputError

    expected = "expected an address such as http://127.0.0.1:30000"
    try:
        parts = urlsplit(text.rstrip("/"))
        shown = f"{option} {parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        if parts.username is not None or parts.password is not None:
            raise InputError(f"{shown}: given with a name or password before it; give a key with --api-key-env")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise InputError(f"{option} {text}: {expected}")
        if parts.query or parts.fragment or "?" in text or "#" in text:
            raise InputError(f"{shown}: given with more behind it, {expected}")
    except ValueError as problem:
        raise InputError(f"{option} {text}: {problem}, {expected}") from None
    return parts.geturl()


def progress_printer(*, quiet: bool) -> Callable[[Progress], None]:
    """Return what prints progress on stderr: a line that is written over on a terminal, else one now and then."""
    printed_s: dict[str, float] = {}
    live = sys.stderr.isatty()

    def print_progress(event: Progress) -> None:
        if quiet:
            return
        text = f"{event.name}: {event.phase}"
        if event.phase == "waiting":
            text = f"{event.name}: waiting, {event.after_s:.0f} s: {event.line}"
            if live:
                overwrite_status(text)
                return
            now_s = time.monotonic()
            if now_s - printed_s.setdefault(event.name, now_s) < EVERY_S:
                return
            printed_s[event.name] = now_s
        elif event.phase == "ready":
            text += f" after {event.after_s:.1f} s"
        if live:
            overwrite_status("")
        print_status(text)

    return print_progress
