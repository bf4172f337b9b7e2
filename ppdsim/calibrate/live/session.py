"""One calibration run: services in two passes, rounds of blocks, probes in between, every row on disk at once.

The first pass measures every cell once on each service; the second goes through the services in reverse order and
repeats until the cells are settled, so that an arm's repeats lie on both sides of every other arm's. A plan of one pass
stays with each service until its cells are settled: fewer starts, and drift between services cannot be seen. A cell
that fails is named and skipped; servers that die are started again once.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from ppdsim.calibrate.drivers.base import AbstractEngine, EngineInfo, Failure, RequestFailed, decoding
from ppdsim.calibrate.live.cells import Cell, DecodeCell, LoadCell, PrefillCell, StallCell
from ppdsim.calibrate.live.decode import measure_decode
from ppdsim.calibrate.live.journal import Journal
from ppdsim.calibrate.live.load import play
from ppdsim.calibrate.live.order import Block, blocks_of
from ppdsim.calibrate.live.plan import Limits, Plan, chat_of, clipped
from ppdsim.calibrate.live.prefill import TIMEOUT_S, measure_prefill, warm
from ppdsim.calibrate.live.prompts import Prompts
from ppdsim.calibrate.live.record import RunRecord
from ppdsim.calibrate.live.service import Service
from ppdsim.calibrate.live.stall import measure_stall
from ppdsim.errors import EnvironmentProblem
from ppdsim.measurements import HardwareFloor, LoadRow, MeasuredRow, impossible
from ppdsim.types import Arm

Say = Callable[[str], None]
FAILURES_IN_A_ROW = 5
"""Failed cells in a row after which a service is given up: it is not one cell's fault."""


@dataclass
class Session:
    """The state of a run: its plan, its journal, and where the time went.

    `floor` is what nothing on this machine can be faster than, `unix_s` the wall clock. `infos` are the servers that
    were up in this call, `seconds` counts time by what it was spent on [s]; `origin_s` is when the run began, on the
    event loop's clock: when the first engine was up, in this call or an earlier one.
    """

    plan: Plan
    journal: Journal
    record: RunRecord
    rng: np.random.Generator
    floor: HardwareFloor
    say: Say = print
    unix_s: Callable[[], float] = time.time
    infos: dict[str, EngineInfo] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    origin_s: float | None = None

    async def run(self, services: Sequence[Service]) -> None:
        """Measure everything that is not settled yet.

        Raises
        ------
        EnvironmentProblem
            If servers that should be running cannot be reached, a service's servers die twice, or fail cell after cell.
        MeasurementError
            If rows of the folder were measured on other servers.
        """
        await self._reach(services)
        # The last service of the first pass is the first of the second: its servers stay up.
        if self.plan.passes == 2:
            for service in services[:-1]:
                await self._pass(service, self.begun, rounds=1)
            services = services[::-1]
        for service in services:
            await self._pass(service, self.done, rounds=self.plan.most_repeats)

    async def _reach(self, services: Sequence[Service]) -> None:
        """Ask every server that should be running and is still needed what it is, before an hour is spent on others."""
        for service in services:
            if service.starts_servers or self._settled(service, self.done):
                continue
            async with service.open() as engine:
                try:
                    servers = await engine.servers()
                except RequestFailed as problem:
                    raise EnvironmentProblem(f"{service.name}: {problem}") from None
            self.record.check(service.name, servers)

    def _settled(self, service: Service, enough: Callable[[Cell], bool]) -> bool:
        """Return whether nothing is left to do on a service, of all that is known to fit its servers."""
        return all(enough(cell) for cell in self.cells(service, self.journal.limits(service.name)))

    def cells(self, service: Service, limits: Limits | None) -> list[Cell]:
        """Return a service's cells: all that fit `limits`, or all without them."""
        cells = service.cells(self.plan)
        if limits is None:
            return cells
        kept, left_out = clipped(cells, limits)
        self.left_out += [line for line in left_out if line not in self.left_out]
        return kept

    def begun(self, cell: Cell) -> bool:
        """Return whether a cell was tried: all that the first pass asks, in this call or an earlier one."""
        return self.journal.has(cell.key)

    def done(self, cell: Cell) -> bool:
        """Return whether a cell needs no further row."""
        if isinstance(cell, LoadCell):
            return self.journal.has(cell.key)
        return self.journal.settled(cell.key, self.plan.repeats_for(cell))

    async def _pass(self, service: Service, enough: Callable[[Cell], bool], *, rounds: int) -> None:
        if self._settled(service, enough):
            # Starting servers takes minutes; an earlier call has found out what fits and measured it.
            return
        for attempt in range(2):
            begin_s = time.monotonic()
            try:
                async with service.open() as engine:
                    self.seconds[f"start of {service.name}"] += time.monotonic() - begin_s
                    await _Visit(self, service, engine).rounds(enough, rounds)
                return
            except RequestFailed as problem:
                if problem.failure is not Failure.UNREACHABLE or attempt or not service.starts_servers:
                    raise EnvironmentProblem(f"{service.name}: {problem}") from None
                self.say(f"{service.name}: {problem}; starting it again, once")


class _Visit:
    """One service while its servers are up."""

    def __init__(self, session: Session, service: Service, engine: AbstractEngine) -> None:
        self._session = session
        self._service = service
        self._engine = engine
        self._prompts = Prompts(session.rng)
        self._probed_s = -np.inf
        self._probes = 0
        self._failed = 0
        # Each engine may have a clock of its own; the event loop's goes on from one to the next.
        now_s = asyncio.get_running_loop().time()
        if session.origin_s is None:
            elapsed_s = session.record.elapsed_s(session.unix_s(), at_least_s=session.journal.last_elapsed_s)
            session.origin_s = now_s - elapsed_s
        self._origin_s = engine.now_s() - (now_s - session.origin_s)

    async def rounds(self, enough: Callable[[Cell], bool], most: int) -> None:
        session = self._session
        servers = await self._engine.servers()
        session.record.check(self._service.name, servers)
        info = session.infos[self._service.name] = decoding(servers)
        limits = Limits(
            kv_pool_tokens=info.kv_pool_tokens,
            context_tokens=session.plan.longest_context_tokens,
            max_running_requests=info.max_running_requests,
        )
        session.journal.remember_limits(self._service.name, limits)
        cells = session.cells(self._service, limits)
        if all(enough(cell) for cell in cells):
            return
        await self._warm_up(cells, info)
        for number in range(most):
            todo = [cell for cell in cells if not enough(cell)]
            if not todo:
                return
            session.say(f"{self._service.name}: round {number + 1}, {len(todo)} cells")
            for block in blocks_of(todo, session.rng):
                session.journal.last_block += 1
                await self._block(block, info)

    async def _warm_up(self, cells: Sequence[Cell], info: EngineInfo) -> None:
        """Send one turn of every size and throw it away: the first of a shape compiles."""
        begin_s = self._engine.now_s()
        await self._engine.flush()
        for new_tokens in sorted({cell.new_tokens for cell in cells if isinstance(cell, (PrefillCell, StallCell))}):
            if new_tokens <= info.kv_pool_tokens // 2:
                with suppress(RequestFailed):
                    await self._engine.generate(self._prompts.fresh(new_tokens), 2, timeout_s=TIMEOUT_S)
        self._session.seconds["warm-up"] += self._engine.now_s() - begin_s

    async def _block(self, block: Block, info: EngineInfo) -> None:
        prefix: list[int] | None = None
        for cell in block.cells:
            await self._probe(info)
            begin_s = self._engine.now_s()
            try:
                if isinstance(cell, PrefillCell):
                    if prefix is None:
                        prefix = await warm(self._engine, self._prompts, cell.cached_tokens)
                    await self._prefill(cell, info, prefix)
                else:
                    await self._other(cell, info)
                self._failed = 0
            except RequestFailed as problem:
                prefix = None
                await self._failure(cell.key, problem)
            finally:
                self._session.seconds[cell.kind] += self._engine.now_s() - begin_s

    async def _prefill(self, cell: PrefillCell, info: EngineInfo, prefix: Sequence[int]) -> None:
        if prefix and self._empties_decode(cell):
            await self._engine.flush("decode")
        row = await measure_prefill(
            self._engine,
            info,
            cell,
            self._prompts,
            prefix,
            started_s=self._origin_s,
        )
        self._keep(row)

    async def _other(self, cell: Cell, info: EngineInfo) -> None:
        session = self._session
        if isinstance(cell, DecodeCell):
            self._keep(await measure_decode(self._engine, cell, self._prompts, started_s=self._origin_s))
        elif isinstance(cell, StallCell):
            stalled = await measure_stall(
                self._engine,
                info,
                cell,
                self._prompts,
                empty_decode=self._empties_decode(cell),
                started_s=self._origin_s,
            )
            self._keep(stalled)
        elif isinstance(cell, LoadCell):
            # The same conversations on every arm.
            rng = np.random.default_rng([session.plan.seed, *cell.name.encode()])
            rows, failures = await play(
                self._engine,
                cell,
                list(chat_of(session.plan, cell).conversations(rng)),
                self._prompts,
                longest_context_tokens=min(session.plan.longest_context_tokens, info.kv_pool_tokens // 2),
            )
            for text in [*failures, *filter(None, map(self._refused, rows))]:
                session.journal.skip(cell.key, text)

    def _refused(self, row: LoadRow) -> str | None:
        """Write a turn of a load, or return why it is not written: the other turns of the load count all the same."""
        try:
            self._keep(row)
        except RequestFailed as problem:
            return f"conversation {row.conversation_id}, turn {row.turn}: {problem}"
        return None

    def _keep(self, row: MeasuredRow) -> None:
        """Write a row of the present block.

        Raises
        ------
        RequestFailed
            If it cannot be true: whoever reads the file would refuse it, so it never gets there.
        """
        session = self._session
        reason = impossible(row, session.floor)
        if reason is not None:
            raise RequestFailed(Failure.REFUSED, reason)
        session.journal.add(row.model_copy(update={"block": session.journal.last_block}))

    def _empties_decode(self, cell: PrefillCell | StallCell) -> bool:
        """Return whether D would keep the prefix of a turn that all of whose KV is to travel."""
        return self._service.decode_radix and cell.arm is Arm.P_FULL

    async def _probe(self, info: EngineInfo) -> None:
        """Measure the probe if its time has come, so that the run shows when the launch floor moved."""
        probe = self._session.plan.probe
        if self._engine.now_s() - self._probed_s < probe.every_s:
            return
        # Each arm in turn: on an empty cache they do the same, and each has drift of its own.
        arm, transport = self._service.arms[self._probes % len(self._service.arms)]
        self._probes += 1
        cell = PrefillCell(arm=arm, transport=transport, cached_tokens=0, new_tokens=probe.new_tokens, purpose="probe")
        try:
            await self._prefill(cell, info, [])
        except RequestFailed as problem:
            await self._failure(cell.key, problem)
        self._probed_s = self._engine.now_s()

    async def _failure(self, cell: str, problem: RequestFailed) -> None:
        """Name and skip what failed, and bring the servers back to idle.

        Raises
        ------
        RequestFailed
            If the servers cannot be reached.
        EnvironmentProblem
            If cell after cell fails.
        """
        self._session.journal.skip(cell, str(problem))
        self._session.say(f"skipped {cell}: {problem}")
        if problem.failure is Failure.UNREACHABLE:
            raise problem
        self._failed += 1
        if self._failed >= FAILURES_IN_A_ROW:
            raise EnvironmentProblem(f"{self._service.name}: {self._failed} cells failed in a row, the last: {problem}")
        await self._engine.abort_all()
        try:
            await self._engine.flush()
        except RequestFailed as still:
            if still.failure is Failure.UNREACHABLE:
                raise
            # Every cell begins with a flush: if this one's trouble lasts, the next cell fails by it and is counted.
            self._session.say(f"{self._service.name}: {still}")
