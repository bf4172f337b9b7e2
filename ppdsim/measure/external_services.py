"""Services of servers that run already: joined by URL, left running."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ppdsim.engines.base import AbstractEngine
from ppdsim.engines.client import AbstractClient, Endpoints, Tell
from ppdsim.measure.service import Service, handoff_arms
from ppdsim.types import Arm, Transport


def joined(
    engine: AbstractEngine,
    endpoints: Endpoints,
    *,
    transport: Transport,
    decode_radix: bool,
    tell: Tell | None = None,
) -> Service:
    """Return the service behind `endpoints`: a unified server, or a router with P and D behind it.

    `tell` is given a line now and then while they are waited for.
    """

    @asynccontextmanager
    async def connect() -> AsyncIterator[AbstractClient]:
        engine.require_client()
        client = engine.client(endpoints, tell=tell)
        try:
            yield client
        finally:
            await client.close()

    if any(role == "unified" for role, _ in endpoints.servers):
        arms: tuple[tuple[Arm, Transport], ...] = ((Arm.APPEND_D, Transport.NONE),)
        return Service(name="unified", arms=arms, open=connect, starts_servers=False)
    # With a cache or without, D is another server: rows of both may lie in one folder.
    return Service(
        name=f"prefill/decode over {transport.value}{', D with a prefix cache' if decode_radix else ''}",
        arms=handoff_arms(transport, decode_radix=decode_radix),
        open=connect,
        starts_servers=False,
    )
