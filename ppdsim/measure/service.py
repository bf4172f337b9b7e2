"""A service is one set of servers that some arms are measured on, started for the run or running already."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from ppdsim.engines.base import AbstractEngine
from ppdsim.engines.client import AbstractClient, Endpoints, ShowLine
from ppdsim.measure.cells import Cell, LoadCell
from ppdsim.measure.plan import Plan, cells_of
from ppdsim.types import Arm, Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Servers and what they can answer.

    `open` starts or joins the servers and yields the engine; leaving it takes down what it started. `starts_servers`
    says that opening it gives fresh ones. A decode server with a prefix cache (`decode_radix`, a start flag) gives
    delta transfers, and full ones too where its cache is emptied before each turn; a load cannot be played that way, so
    full hand-offs under load need a decode server without a cache (`loads_only`). `notes` go into the manifest. A
    service that is `optional` is left out by name if it fails: nobody asked for its link, the machine has it.
    """

    name: str
    arms: tuple[tuple[Arm, Transport], ...]
    open: Callable[[], AbstractAsyncContextManager[AbstractClient]]
    starts_servers: bool = True
    loads_only: bool = False
    optional: bool = False
    notes: tuple[str, ...] = ()

    @property
    def unified(self) -> bool:
        """Return whether one server does everything: appends, and no hand-offs."""
        return all(arm is Arm.APPEND_D for arm, _ in self.arms)

    @property
    def decode_radix(self) -> bool:
        """Return whether D has a prefix cache: without one there are no delta transfers."""
        return any(arm is Arm.P_DELTA for arm, _ in self.arms)

    def cells(self, plan: Plan) -> list[Cell]:
        """Return the cells of a plan that are measured on it."""
        return [cell for arm, transport in self.arms for cell in cells_of(plan, arm, transport) if self._takes(cell)]

    def _takes(self, cell: Cell) -> bool:
        if isinstance(cell, LoadCell):
            return cell.arm is not Arm.P_FULL or not self.decode_radix
        return not self.loads_only


def handoff_arms(transport: Transport, *, decode_radix: bool) -> tuple[tuple[Arm, Transport], ...]:
    """Return what a prefill/decode pair can be asked for, with or without a prefix cache on D."""
    arms = (Arm.P_DELTA, Arm.P_FULL) if decode_radix else (Arm.P_FULL,)
    return tuple((arm, transport) for arm in arms)


def joined(
    engine: AbstractEngine,
    endpoints: Endpoints,
    *,
    transport: Transport,
    decode_radix: bool,
    show_line: ShowLine | None = None,
) -> Service:
    """Return the service behind `endpoints`: a unified server, or a router with P and D behind it; left running.

    `show_line` is given a line now and then while they are waited for.
    """

    @asynccontextmanager
    async def connect() -> AsyncIterator[AbstractClient]:
        engine.require_client()
        client = engine.client(endpoints, show_line=show_line)
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
