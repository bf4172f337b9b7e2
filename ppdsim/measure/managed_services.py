"""Services of servers that the run starts itself, and takes down again when it leaves them.

Only the servers under test are up: a unified server alone, then for each transport a prefill and a decode server with
a prefix cache, and a pair without one where a plan has loads for full hand-offs. An engine that has no such cache gives
full hand-offs only. With cores of their own (`cpu_pin`)
this process takes the cores that are left.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from ppdsim.engines.base import AbstractEngine
from ppdsim.engines.client import AbstractClient, Failure, RequestFailed, ShowLine
from ppdsim.engines.launch.launcher import Settings
from ppdsim.engines.launch.placement import cores_left
from ppdsim.engines.launch.specs import Host, ServerSpec
from ppdsim.engines.launch.stack import Progress, Stack
from ppdsim.errors import InputError
from ppdsim.measure.cells import LoadCell
from ppdsim.measure.plan import Plan, cells_of
from ppdsim.measure.service import Service, handoff_arms
from ppdsim.types import Arm, Transport

ENDING_S = 1.0
"""How long a server that cannot be reached is given to have ended [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opening:
    """What every service is opened with."""

    engine: AbstractEngine
    host: Host
    log_dir: Path
    progress: Callable[[Progress], None]
    key: str | None = field(repr=False)
    show_line: ShowLine | None


def started(
    engine: AbstractEngine,
    plan: Plan,
    settings: Settings,
    transports: Sequence[Transport],
    host: Host,
    log_dir: Path,
    *,
    progress: Callable[[Progress], None],
    key: str | None = None,
    show_line: ShowLine | None = None,
) -> list[Service]:
    """Return the services that a plan needs of `settings`, in the order of the first pass.

    Parameters
    ----------
    engine : AbstractEngine
        Whose servers they are.
    plan : Plan
        What is to be measured.
    settings : Settings
        GPUs of each role, and everything else that decides the commands.
    transports : sequence of Transport
        Links between P and D to measure; empty: the one of the settings, or all that the machine has.
    host : Host
        Cores and links of this machine.
    log_dir : Path
        Folder for the servers' logs, one folder a start.
    progress : callable
        Told what happens to each server.
    key : str or None
        What the servers want as a bearer token.
    show_line : callable or None
        Given a line now and then while an answer is waited for.

    Raises
    ------
    InputError
        If the settings cannot work.
    """
    services = []
    opening = _Opening(engine=engine, host=host, log_dir=log_dir, progress=progress, key=key, show_line=show_line)
    _refuse_several(settings)
    if settings.unified_gpus:
        alone = settings.model_copy(update={"prefill_gpus": (), "decode_gpus": ()})
        services.append(_service("unified", [(Arm.APPEND_D, Transport.NONE)], alone, opening))
    if settings.prefill_gpus or settings.decode_gpus:
        links = transports or engine.launcher.transports(settings, host)
        # Nobody asked for one of several that the machine has.
        optional = not transports and len(links) > 1
        for transport in links:
            radix = host.decode_radix
            pair = settings.model_copy(update={"unified_gpus": (), "transport": transport.value, "decode_radix": radix})
            arms = handoff_arms(transport, decode_radix=radix)
            name = f"hand-offs over {transport.value}"
            services.append(_service(name, arms, pair, opening, optional=optional))
            if radix and any(isinstance(cell, LoadCell) for cell in cells_of(plan, Arm.P_FULL, transport)):
                plain = pair.model_copy(update={"decode_radix": False})
                name = f"p-full loads over {transport.value}"
                full = handoff_arms(transport, decode_radix=False)
                services.append(_service(name, full, plain, opening, loads_only=True, optional=optional))
    return services


def buffer_gpus(settings: Settings, host: Host) -> tuple[int, int] | None:
    """Return the GPUs of P and D whose memory a link is measured between; None without them, or without torch."""
    if not settings.prefill_gpus or not settings.decode_gpus or find_spec("torch") is None:
        return None
    pair = (settings.prefill_gpus[0], settings.decode_gpus[0])
    return pair if max(pair) < len(host.gpu_memory_bytes) else None


def _refuse_several(settings: Settings) -> None:
    """Refuse several of a role: a turn would find its prefix on one of them and be sent to another."""
    roles = {"prefill": settings.prefill_gpus, "decode": settings.decode_gpus, "unified": settings.unified_gpus}
    for role, gpus in roles.items():
        if len(gpus) > settings.tp:
            listed = ",".join(map(str, gpus))
            raise InputError(
                f"--{role}-gpu {listed}: {len(gpus)} GPUs, expected {settings.tp}: a calibration measures one server "
                "of each role"
            )


def _service(
    name: str,
    arms: Sequence[tuple[Arm, Transport]],
    settings: Settings,
    opening: _Opening,
    *,
    loads_only: bool = False,
    optional: bool = False,
) -> Service:
    specs = opening.engine.launcher.layout(settings, opening.host)
    left = cores_left(settings, opening.host, specs)

    @asynccontextmanager
    async def open_client() -> AsyncIterator[AbstractClient]:
        opening.engine.require_client()
        stack = Stack(
            specs,
            log_dir=_next_folder(opening.log_dir, name),
            progress=opening.progress,
            start_timeout_s=settings.start_timeout_s,
            stop_timeout_s=settings.stop_timeout_s,
        )
        before = os.sched_getaffinity(0) if left else set()
        with stack:
            if left:
                os.sched_setaffinity(0, left)
            (endpoints,) = stack.endpoints.values()
            client = opening.engine.client(replace(endpoints, key=opening.key), show_line=opening.show_line)
            try:
                yield client
            except RequestFailed as problem:
                reason = await _failure_of(stack)
                if reason is None:
                    raise
                # What the log says is the cause; what the client saw is the consequence.
                raise RequestFailed(Failure.UNREACHABLE, f"{reason}; seen as: {problem}") from None
            finally:
                await client.close()
                if left:
                    os.sched_setaffinity(0, before)

    opener: Callable[[], AbstractAsyncContextManager[AbstractClient]] = open_client
    return Service(
        name=name,
        arms=tuple(arms),
        open=opener,
        loads_only=loads_only,
        optional=optional,
        notes=tuple(_note(name, spec) for spec in specs),
    )


async def _failure_of(stack: Stack) -> str | None:
    """Return why a server failed; a closed connection is seen a moment before its process has ended."""
    until_s = time.monotonic() + ENDING_S
    while (reason := stack.failure()) is None and time.monotonic() < until_s:
        await asyncio.sleep(0.05)
    return reason


def _next_folder(log_dir: Path, name: str) -> Path:
    """Return a folder for the logs of one more start, beside those of earlier ones."""
    slug = name.replace(" ", "-")
    number = 1
    while (folder := log_dir / f"{slug}-{number}").exists():
        number += 1
    return folder


def _note(service: str, spec: ServerSpec) -> str:
    """Return what the manifest says of a server: what it was started with, without where files lie."""
    gpus = f" on GPU {','.join(map(str, spec.gpus))}" if spec.gpus else ""
    pin = f", cores {spec.argv[2]}" if spec.argv[0] == "taskset" else ""
    variables = " ".join(f"{key}={value}" for key, value in spec.env.items() if key.startswith("MC_"))
    return f"{service}: {spec.name}{gpus}{pin}{', ' if variables else ''}{variables}; no other server was up"
