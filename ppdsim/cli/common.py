"""What commands share: options under one name, one JSON document on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from ppdsim.errors import InputError
from ppdsim.files import check_writable
from ppdsim.printable import json_printable, printable

CLEAR = "\r\x1b[K"
"""Back to the begin of a terminal's line, and away with what stands there."""
MOST_COLUMNS = 118
"""Characters of a line that is written over; a folded one would stay."""


def completes(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return what completes names in a shell; they are asked for when a key is pressed, so imports belong inside."""

    def beginning(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    return beginning


def _scenarios() -> Iterable[str]:
    from ppdsim.library import names

    return names("scenario")


def profile_names() -> Iterable[str]:
    """Return every name of a profile, short or full."""
    from ppdsim.library import names

    return names("profile")


def _policies() -> Iterable[str]:
    from ppdsim.routing import POLICIES

    return POLICIES


ScenarioArgument = Annotated[
    str,
    typer.Argument(
        help="Name of an installed scenario ('ppdsim scenarios' lists them) or path of a YAML file.",
        autocompletion=completes(_scenarios),
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no summary.")]
SeedOption = Annotated[int | None, typer.Option(help="Seed of every random draw; by default the scenario's.", min=0)]
OutOption = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help="Folder to write to. ppdsim creates it, and refuses one with results of another run (see --force).",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the results of another run, or an existing file.")]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        help="Calibration profile, by name such as h200 ('ppdsim profiles' lists them) or path.",
        autocompletion=completes(profile_names),
    ),
]
ProfileArgument = Annotated[
    str,
    typer.Argument(
        help="Profile, by name such as h200 ('ppdsim profiles' lists them) or path.",
        autocompletion=completes(profile_names),
    ),
]
PolicyOption = Annotated[
    str | None,
    typer.Option(help="Routing policy to use instead of the scenario's.", autocompletion=completes(_policies)),
]
PoliciesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        help="Routing policy to use instead of the scenario's. Repeatable, or 'all': ppdsim runs them on the same"
        " conversations and prints the regret of each.",
        autocompletion=completes(lambda: [*_policies(), "all"]),
    ),
]
TraceOption = Annotated[
    Path | None,
    typer.Option(
        help="Trace to use as the workload: conversation JSONL, Mooncake JSONL, Azure CSV, agent sessions. Set keys of"
        " the workload with --set, such as workload.rate_scale=2 or workload.limit=100."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key of the scenario, such as transport=tcp. Repeatable."
    ),
]


def overrides(
    settings: list[str] | None, *, profile: str | None = None, policy: str | None = None, seed: int | None = None
) -> list[str]:
    """Return the ``--set`` texts of a command; ``--profile``, ``--policy`` and ``--seed`` are short for three of them.

    Raises
    ------
    InputError
        If one of them replaces another.
    """
    from ppdsim.scenario import refuse_replaced

    named = {"profile": profile, "routing.policy": policy, "seed": seed}
    texts = [*(settings or []), *(f"{key}={value}" for key, value in named.items() if value is not None)]
    refuse_replaced(texts)
    return texts


def check_folder(path: Path, said: str) -> None:
    """Refuse, before any work is done, a folder to write to that cannot be one; `said` is the start of the errors.

    Raises
    ------
    InputError
        If the path, or one above it, is a file, or there is no permission to write there.
    EnvironmentProblem
        If its disk is full or read-only.
    """
    for place in (path, *path.parents):
        if os.path.lexists(place) and not place.is_dir():
            raise InputError(f"{said}: {place} is a file, expected a folder")
    check_writable(path, said)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout; numpy values are allowed, NaN becomes null."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    echo_json(orjson.dumps(document, option=options, default=str))


def echo_json(document: bytes) -> None:
    """Print a JSON document as it stands on stdout, but for characters that a terminal would obey."""
    typer.echo(json_printable(document), nl=False)


def echo(text: str, *, nl: bool = True) -> None:
    """Print an answer on stdout; what a terminal would obey is shown as escapes (`ppdsim.printable`)."""
    typer.echo(printable(text, keep="\n\t"), nl=nl)


def print_status(text: str, *, quiet: bool = False) -> None:
    """Print a line for people on stderr, with escapes as `echo` has them."""
    if not quiet:
        typer.echo(printable(text, keep="\n\t"), err=True)


def overwrite_status(text: str) -> None:
    """Print a line on stderr that the next one is written over, on a terminal; an empty one clears it."""
    typer.echo(CLEAR + printable(text[:MOST_COLUMNS]), err=True, nl=False)


def print_written(paths: Iterable[Path], *, quiet: bool = False) -> None:
    """End a command: list the files that it wrote."""
    for path in paths:
        print_status(f"wrote {path}", quiet=quiet)


def entry(name: str, facts: Iterable[str]) -> None:
    """Print one item of a listing on stdout: its name, and facts about it below."""
    echo("\n  ".join([name, *facts]))


@contextmanager
def progress(label: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr while the block runs; the block calls ``advance(done, total)``.

    Nothing is shown where stderr is not a terminal.
    """
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=quiet or not sys.stderr.isatty()) as bar:
        task = bar.add_task(label, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
