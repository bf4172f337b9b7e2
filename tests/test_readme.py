"""The README's first two bash blocks are its two commands, and CI calls the second one word for word."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import typer

from ppdsim.cli.app import app

README = """\
# planted
```text
not a command
```
```bash
exit 7
```
```bash
echo "second block, PPDSIM_REQUIRE_ALL=$PPDSIM_REQUIRE_ALL"
SECOND
```
```bash
exit 9
```
"""


def blocks(text: str) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_two_commands_do_all_of_their_set_up(repository: Path) -> None:
    first, second = blocks((repository / "README.md").read_text())[:2]
    assert first.startswith("python3 -m venv .venv\n")
    assert "ppdsim crossover cache-rate -o out" in first
    assert second.startswith("python3 -m venv .venv-test\n")
    for tool in ("ruff check .", "mypy --strict ppdsim", "lint-imports", "pytest"):
        assert tool in second


def test_the_readme_links_to_files_that_exist(repository: Path) -> None:
    for document in (repository / "README.md", repository / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (repository / target).exists(), f"{document.name} links to {target}"


def test_the_commands_of_the_table_have_all_that_they_need(repository: Path) -> None:
    """Every command that is printed exists, with options it has and whatever it refuses to run without."""
    commands = typer.main.get_command(app).commands
    printed = re.findall(r"`ppdsim ([^`]+)`", (repository / "README.md").read_text())
    assert {line.split()[0] for line in printed} == set(commands)
    for line in printed:
        name, *words = line.split()
        options = {word for word in words if word.startswith("-")}
        known = {option for p in commands[name].params for option in p.opts if p.param_type_name == "option"}
        assert options <= known, line
        for p in commands[name].params:
            if p.required and p.param_type_name == "option":
                assert options & set(p.opts), f"{line}: needs {p.opts[0]}"
        needed = sum(p.required and p.param_type_name == "argument" for p in commands[name].params)
        given = itertools.takewhile(lambda word: not word.startswith("-"), words)
        assert len(list(given)) >= needed, line


def run_ci(repository: Path, folder: Path, second: str) -> subprocess.CompletedProcess[str]:
    """Run .ci/run in `folder` on a planted README, with an apt-get that does nothing."""
    (folder / ".ci").mkdir()
    shutil.copy(repository / ".ci" / "run", folder / ".ci" / "run")
    (folder / ".ci" / "oldest").write_text("#!/bin/sh\necho the oldest versions\n")
    (folder / ".ci" / "oldest").chmod(0o755)
    (folder / "README.md").write_text(README.replace("SECOND", second))
    (folder / "apt-get").write_text("#!/bin/sh\n")
    (folder / "apt-get").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    environment.pop("PPDSIM_REQUIRE_ALL", None)
    command = [folder / ".ci" / "run"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_ci_runs_the_second_block(repository: Path, tmp_path: Path) -> None:
    result = run_ci(repository, tmp_path, "true")
    assert result.returncode == 0, result.stderr
    assert "second block, PPDSIM_REQUIRE_ALL=1\n" in result.stdout
    assert result.stdout.endswith("the oldest versions\n")


def test_ci_fails_with_the_second_block(repository: Path, tmp_path: Path) -> None:
    assert run_ci(repository, tmp_path, "false\ntrue").returncode == 1
