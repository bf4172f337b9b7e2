"""``ppdsim``: the table of commands, and how errors become one line and an exit code.

With ``--json`` an error is a document on stdout too, unless the command has printed its answer.

Exit codes: 0 done; 1 done, but a gate failed; 2 bad input; 3 the machine lacks something; 130 interrupted.

A command is a module of this package with a function of its own name. Importing it must stay cheap, because
``ppdsim --help`` imports all of them: whatever is heavy is imported inside the function.
"""

from __future__ import annotations

import itertools
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from importlib import import_module
from typing import Annotated

import typer

from ppdsim import __version__
from ppdsim.__main__ import main as main  # scripts that were installed before 0.2 begin here
from ppdsim.cli.common import echo, print_json, print_status
from ppdsim.errors import EXIT_ENVIRONMENT, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_OK, PpdsimError
from ppdsim.files import NO_ROOM
from ppdsim.printable import printable

COMMANDS = (
    "crossover",
    "validate",
    "simulate",
    "sweep",
    "report",
    "capacity",
    "calibrate",
    "doctor",
    "serve",
    "fake_stack",
    "scenarios",
    "profiles",
    "show",
    "predict",
    "derive",
    "import_",
    "fit",
    "schema",
)
"""Modules of ppdsim.cli, each with a function of its own name; a trailing underscore is not part of the command, and
one inside becomes a hyphen."""

# typer brings its own copy of click or depends on click, according to its version; this is the class in both.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="ppdsim",
    help="Where should the next turn be prefilled: on the prefill machine or on the decode machine?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        echo(f"ppdsim {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that come before a command; --version acts in its callback."""


for _name in COMMANDS:
    app.command(_name.rstrip("_").replace("_", "-"))(getattr(import_module(f"ppdsim.cli.{_name}"), _name))

# Turning signatures into options takes 40 ms; it gives the same for every command line of a process.
_command = cache(typer.main.get_command)


def run(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code; every foreseen problem ends as one line on stderr."""
    given = sys.argv[1:] if arguments is None else arguments
    json = "--json" in itertools.takewhile(lambda word: word != "--", given)
    try:
        code = _command(app).main(given, prog_name="ppdsim", standalone_mode=False)
    except PpdsimError as problem:
        return _fail(type(problem).__name__, str(problem), problem.exit_code, json=json and not problem.answered)
    except UsageError as problem:
        return _fail("UsageError", _usage(problem), EXIT_INPUT, json=json)
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read what is printed has gone; what is still buffered must not be flushed into it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INTERRUPTED
    except OSError as problem:
        code = EXIT_ENVIRONMENT if problem.errno in NO_ROOM else EXIT_INPUT
        where = problem.filename or "input or output"
        return _fail(type(problem).__name__, f"{where}: {problem.strerror or problem}", code, json=json)
    # Newer versions of typer turn Ctrl-C into this exit code themselves.
    if code == EXIT_INTERRUPTED:
        return _fail("Interrupted", "interrupted", EXIT_INTERRUPTED, json=json)
    return code if isinstance(code, int) else EXIT_OK


def _usage(problem: Exception) -> str:
    text = " ".join(str(getattr(problem, "format_message", problem.__str__)()).split())
    context = getattr(problem, "ctx", None)
    command = context.command_path if context else "ppdsim"
    return f"{text or 'no command given'} (see '{command} --help')"


def _fail(kind: str, text: str, code: int, *, json: bool) -> int:
    text = printable(" ".join(text.split()))
    if json:
        from ppdsim.cli.documents import ErrorDetails, ErrorDocument

        # What stdout does not take is said on stderr.
        with suppress(OSError):
            print_json(asdict(ErrorDocument(error=ErrorDetails(kind=kind, message=text, exit_code=code))))
    print_status(f"error: {text}")
    return code
