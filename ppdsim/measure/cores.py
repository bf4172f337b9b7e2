"""On which cores servers and client run, in words for the manifest: the engine's launch floor is host time.

A server is found by the port that it listens on, with its children (an engine's scheduler is one, and may be pinned on
its own). What is not on this host, or not shown to this process, is "unknown" with the reason.

Not modelled: a scheduler that moves processes within these cores, hyper-threads, other hosts.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

from ppdsim.measure.record import server_name

UNKNOWN = "unknown"
MOST_NAMED = 8
"""Processes of a server that are named; those on the same cores count as one."""


def cores_of(service: str, places: Mapping[str, str]) -> dict[str, str]:
    """Return the cores of a service's servers and of this process, by name.

    `places` are the URLs of the servers, by role.
    """
    found = {server_name(service, role): _server(url) for role, url in places.items()}
    return {**found, f"client of {service}": words(_mine())} if found else {}


def words(cores: Iterable[int]) -> str:
    """Return a list of cores in words.

    >>> words([0, 1, 2, 5]).split(" of ")[0]
    'cores 0-2,5'
    """
    ranges: list[list[int]] = []
    for core in sorted(cores):
        if ranges and core == ranges[-1][1] + 1:
            ranges[-1][1] = core
        else:
            ranges.append([core, core])
    listed = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
    return f"cores {listed} of {os.cpu_count()}"


def _mine() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 0))


def _server(url: str) -> str:
    place = urlsplit(url)
    if not _is_here(place.hostname or ""):
        return f"{UNKNOWN}: on another host"
    if find_spec("psutil") is None:
        return f"{UNKNOWN}: psutil is not installed"
    import psutil

    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        pids = {
            one.pid
            for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid is not None
        }
        if not pids:
            return f"{UNKNOWN}: its process is not shown to this one"
        leader = psutil.Process(min(pids))
        on: dict[str, list[str]] = {}
        for process in (leader, *leader.children(recursive=True)):
            on.setdefault(words(process.cpu_affinity()), []).append(f"{process.name()[:40]} {process.pid}")
    except (psutil.Error, OSError, AttributeError) as problem:
        return f"{UNKNOWN}: {type(problem).__name__}"
    if len(on) == 1:
        return next(iter(on))
    return "; ".join(f"{cores} ({names[0]}{', ...' * (len(names) > 1)})" for cores, names in [*on.items()][:MOST_NAMED])


def _is_here(host: str) -> bool:
    """Return whether a host is this one: a loopback address, or one of its own."""
    try:
        addresses = {found[4][0] for found in socket.getaddrinfo(host, None)}
        mine = {found[4][0] for found in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return False
    return all(address in mine or ipaddress.ip_address(str(address).split("%")[0]).is_loopback for address in addresses)
