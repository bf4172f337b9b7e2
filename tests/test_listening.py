"""What listens, listens on loopback: no command of the documents and no line of the package opens every interface."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LISTENERS = ("dask scheduler", "dask worker", "sglang.launch_server", "sglang_router.launch_router")
"""Programs that listen; the default of most is every interface."""
EVERY_INTERFACE = re.compile(r"0\.0\.0\.0|(?:bind|create_server)\(\([\"']{2}\s*,|host=None")


def commands(page: str) -> list[str]:
    """Return the command lines in a page's blocks of code, continued lines joined."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def pages(repository: Path) -> list[Path]:
    return [repository / "README.md", *sorted((repository / "docs").rglob("*.md"))]


def test_each_command_of_the_documents_that_listens_says_where(repository: Path) -> None:
    found = [
        (page.name, line)
        for page in pages(repository)
        for line in commands(page.read_text())
        # With dots, a line is what to add to a command of the reader's own.
        if any(line.removeprefix("python -m ").startswith(name) for name in LISTENERS) and " ... " not in line
    ]
    # A page that is written anew still has them, or this test looks for nothing.
    assert {name for name in LISTENERS if any(name in line for _, line in found)} == set(LISTENERS)
    for name, line in found:
        assert re.search(r"--host (127\.0\.0\.1|ADDRESS)\b", line), (name, line)
        assert "127.0.0.1" in line or "tls" in line, (name, line)
        # Dask's HTTP port has an address of its own, and is opened even without a dashboard.
        assert "dask" not in line or "--dashboard-address 127.0.0.1:" in line, (name, line)


def test_no_line_of_the_package_opens_every_interface(repository: Path) -> None:
    for path in sorted((repository / "ppdsim").rglob("*.py")):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            assert not EVERY_INTERFACE.search(line), (path, number, line)


@pytest.mark.parametrize(
    "line",
    ["web.TCPSite(r, '0.0.0.0', 1)", 's.bind(("", port))', "serve(app, host=None)", "socket.create_server(('', 0))"],
)
def test_such_a_line_is_found(line: str) -> None:
    assert EVERY_INTERFACE.search(line)
