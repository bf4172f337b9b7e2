"""Servers that were up while others were measured: an idle scheduler spins on a core, and may cost the ones under test.

A run that starts its own servers has none of them. With servers that ran already, those of the other services are idle
meanwhile; each is named, with what its ``sleep_on_idle`` says (a flag of SGLang 0.5.17, off by default: an idle
scheduler then waits for its socket, at most a second at a time). Servers under test should not have it: the wake-up
would be part of each first token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ppdsim.engines.client import EngineInfo
from ppdsim.measure.record import server_name
from ppdsim.measure.service import Service

SLEEPS = {
    True: "it sleeps when idle",
    False: "it spins when idle: sleep_on_idle is off",
    None: "its engine has no sleep_on_idle",
}


def idle_notes(services: Sequence[Service], servers: Mapping[str, Mapping[str, EngineInfo]]) -> Iterator[str]:
    """Yield a sentence for every server that was up and idle while a service was measured.

    `servers` are the known ones of each service, by role.
    """
    running = [service for service in services if not service.starts_servers]
    for service in running:
        for other in running:
            if other is not service:
                for role, info in servers.get(other.name, {}).items():
                    how = SLEEPS[_switch(info.flags.get("sleep_on_idle"))]
                    yield f"{service.name}: {server_name(other.name, role)} was up and idle; {how}"


def _switch(value: object) -> bool | None:
    return value if isinstance(value, bool) else None
