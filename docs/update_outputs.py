"""Outputs that the documentation shows: run again and written again, or compared (tests/docs/test_outputs.py).

usage: python docs/update_outputs.py [PAGE ...]        (by default every page that shows one)

An output is shown in a block ``console``: lines that begin with ``$ ppdsim`` are run in turn, and what they print on
stdout (where one fails, its error) stands below each. The commands of a page share one empty folder. Any other block
that could be taken for an output (``text``, no language, an indented one) has a comment above it that says why it is
not run: ``<!-- not run: needs a GPU -->``.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from ppdsim.cli.app import run

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
REASON = re.compile(r"<!-- not run: \S.* -->\n+$")
INDENTED = re.compile(r" {4}(?! *[\w()|*, -]+ = )\s*\S")
"""First line of an indented block that is no equation."""
SHOWN_AS_CODE = ("bash", "shell", "python", "yaml", "json", "console")
"""Languages of blocks that are no outputs, and the one whose outputs are run."""

Print = Callable[[str], str]
"""From a command line to what it prints."""


def pages() -> list[Path]:
    """Return every page: README and all below docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shows_output(page: Path) -> bool:
    """Return whether a page shows what a command prints."""
    return "```console\n" in page.read_text(encoding="utf-8")


def renewed(text: str, printed: Print) -> str:
    """Return a page with every output as the command prints it now."""

    def block(found: re.Match[str]) -> str:
        if found[2] != "console":
            return found[0]
        return f"```console\n{''.join(f'$ {line}{chr(10)}{printed(line)}' for line in _commands(found[3]))}```"

    return FENCE.sub(block, text)


def unexplained(text: str) -> Iterator[str]:
    """Yield the first line of each block that may be an output, is not run, and does not say why."""
    rest = list(text)
    for found in FENCE.finditer(text):
        rest[found.start() : found.end()] = "\n" * len(found[0])
        code = found[2] in SHOWN_AS_CODE or found[2].startswith("{")
        if not code and not REASON.search(text[: found.start()]):
            yield found[3].splitlines()[0]
    lines = "".join(rest).splitlines()
    for number, line in enumerate(lines):
        before = next((above for above in reversed(lines[:number]) if above), "")
        begins = INDENTED.match(line) and not (number and lines[number - 1])
        if begins and not re.match(r" *([-*]|\d+\.) |  ", before) and not REASON.match(before + "\n"):
            yield line


@contextmanager
def playing() -> Iterator[Print]:
    """Run commands in an empty folder, without a library of the user's."""
    before, library = Path.cwd(), os.environ.get("PPDSIM_LIBRARY")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PPDSIM_LIBRARY"] = str(Path(folder) / "library")
        os.chdir(folder)
        try:
            yield _printed
        finally:
            os.chdir(before)
            del os.environ["PPDSIM_LIBRARY"]
            if library is not None:
                os.environ["PPDSIM_LIBRARY"] = library


def _printed(line: str) -> str:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    program, *arguments = shlex.split(line)
    if program != "ppdsim":
        raise SystemExit(f"$ {line}: only ppdsim is run")
    with redirect_stdout(out), redirect_stderr(err):
        code = run(arguments)
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return said[0] + "".join(f"{text}\n" for text in said[1].splitlines() if code and text.startswith("error: "))


def _commands(body: str) -> list[str]:
    return [line.removeprefix("$ ") for line in body.splitlines() if line.startswith("$ ")]


def main() -> None:
    """Write the pages again."""
    for page in [Path(name) for name in sys.argv[1:]] or [page for page in pages() if shows_output(page)]:
        text = page.read_text(encoding="utf-8")
        with playing() as printed:
            new = renewed(text, printed)
        sys.stdout.write(f"{page}: {'as it was' if new == text else 'written again'}\n")
        page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
