"""The APT sources, from which the fixes install libraries: what they name, and what APT ever got from it.

Nothing is fetched. A source of which the package lists show nothing, while they show others, was never reached; where
there are no lists at all (a fresh container), only a placeholder can be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ppdsim.engines.doctor.finding import Finding, ok, warning
from ppdsim.machine.host import AbstractMachine

APT = Path("/etc/apt")
LISTS = Path("/var/lib/apt/lists")
OS_RELEASE = Path("/etc/os-release")
PLACEHOLDER = re.compile(r"OLD_MIRROR|NEW_MIRROR|file:/+nonexistent")
"""What people paste from notes on how to change a mirror."""
OFFICIAL = {
    "/ubuntu": "http://archive.ubuntu.com/ubuntu",
    "/ubuntu-ports": "http://ports.ubuntu.com/ubuntu-ports",
    "/debian": "http://deb.debian.org/debian",
    "/debian-security": "http://deb.debian.org/debian-security",
}
"""The distributions' own mirrors, by the path that every mirror has."""


def check_apt(machine: AbstractMachine) -> list[Finding]:
    """Return whether the APT sources name mirrors that packages can be had from."""
    sources = dict(_sources(machine))
    if not sources:
        return [ok("apt", "no APT sources on this system")]
    named = [(path, uri) for path, text in sources.items() for uri in _uris(text)]
    if not named:
        files = ", ".join(map(str, sources))
        return [warning("apt", f"{files}: no active source", f"cat {' '.join(map(str, sources))}")]
    lists = machine.listing(LISTS)
    known = [name for name in lists if name.endswith("Release")]
    for path, uri in named:
        if PLACEHOLDER.search(uri):
            return [_broken(machine, path, uri, "which is no mirror")]
        if known and uri.startswith("http") and not any(name.startswith(_list_name(uri)) for name in known):
            return [_broken(machine, path, uri, "which apt-get update never got a list from")]
    state = "lists are there" if known else "no lists yet (apt-get update)"
    return [ok("apt", f"mirrors: {len({uri for _, uri in named})}, {state}")]


def _sources(machine: AbstractMachine) -> Iterator[tuple[Path, str]]:
    folder = APT / "sources.list.d"
    names = [name for name in machine.listing(folder) if name.endswith((".list", ".sources"))]
    for path in (APT / "sources.list", *(folder / name for name in names)):
        text = machine.read(path)
        if text is not None:
            yield path, text


def _uris(text: str) -> list[str]:
    """Return the places that a file names, of one line a source (``deb URI ...``) or of stanzas (``URIs: ...``)."""
    found: list[str] = []
    lines = [line.strip() for line in text.splitlines() if not line.lstrip().startswith("#")]
    for stanza in "\n".join(lines).split("\n\n"):
        if re.search(r"^Enabled: *(no|false)", stanza, re.MULTILINE | re.IGNORECASE):
            continue
        found += re.findall(r"^deb(?:-src)?\s+(?:\[[^\]]*\]\s*)?(\S+)", stanza, re.MULTILINE)
        for listed in re.findall(r"^URIs:(.*)", stanza, re.MULTILINE | re.IGNORECASE):
            found += listed.split()
    return found


def _list_name(uri: str) -> str:
    """Return how APT begins the names of the lists that it got from a place.

    >>> _list_name("http://archive.ubuntu.com/ubuntu/")
    'archive.ubuntu.com_ubuntu_'
    """
    return re.sub(r"^https?://", "", uri).rstrip("/").replace("_", "%5f").replace("/", "_") + "_"


def _broken(machine: AbstractMachine, path: Path, uri: str, why: str) -> Finding:
    tail = next((tail for tail in sorted(OFFICIAL, key=len, reverse=True) if uri.rstrip("/").endswith(tail)), None)
    if tail is None and not PLACEHOLDER.search(uri):
        # A source of somebody else's packages has no other mirror: what is wrong with it, APT says.
        return warning("apt", f"{path} names {uri}, {why}", "apt-get update  # says what is wrong with it")
    debian = re.search(r"^ID=\"?debian", machine.read(OS_RELEASE) or "", re.MULTILINE)
    official = OFFICIAL[tail or ("/debian" if debian else "/ubuntu")]
    fix = f"sed -i 's|{uri.rstrip('/')}|{official}|g' {path} && apt-get update"
    return warning("apt", f"{path} names {uri}, {why}", fix)
