"""One calibration run: services in two passes, rounds of blocks, probes in between, every row on disk at once.

The first pass measures every cell once on each service; the second goes through the services in reverse order and
repeats until the cells are settled, so that an arm's repeats lie on both sides of every other arm's. A plan of one pass
stays with each service until its cells are settled: fewer starts, and drift between services cannot be seen. A cell
that fails is named and skipped; servers that die are started again once. The plan's budget ends repeats and nothing
else: every cell is measured once, and what is left is shared between the services by what their missing rows cost.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from ppdsim.calibrate.drivers.base import AbstractEngine, EngineInfo, Failure, RequestFailed, decoding
from ppdsim.calibrate.live.cells import Cell, DecodeCell, LoadCell, PrefillCell, StallCell
from ppdsim.calibrate.live.decode import measure_decode
from ppdsim.calibrate.live.journal import Journal
from ppdsim.calibrate.live.limits import (
    Clipped,
    Limits,
    clipped,
    conversation_tokens,
    limits_of,
    longest_request_tokens,
)
from ppdsim.calibrate.live.load import play
from ppdsim.calibrate.live.order import Block, blocks_of
from ppdsim.calibrate.live.plan import Plan, Probe, conversations_of
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
    were up in this call. `seconds` counts time by what it was spent on, `spent_s` what of it counts against the plan's
    budget: all but starts of servers; `costs_s` is what each cell took last, by key [s]. `origin_s` is when the run
    began, on the event loop's clock: when its first row was about to be measured, in this call or an earlier one.
    `left_out` is what does not fit the machine, `fewer` what the budget left with fewer repeats, by service, a line
    each.
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
    given_up: set[str] = field(default_factory=set)
    fewer: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    spent_s: float = 0.0
    costs_s: dict[str, float] = field(default_factory=dict)
    origin_s: float | None = None

    async def reach(self, services: Sequence[Service]) -> None:
        """Ask every server that should be running and is still needed what it is, before an hour is spent on others.

        Raises
        ------
        EnvironmentProblem
            If one of them cannot be reached.
        MeasurementError
            If rows of the folder were measured on others.
        """
        for service in services:
            cells = self.cells(service, self.journal.limits(service.name))
            if service.starts_servers or all(self.done(cell) for cell in cells):
                continue
            async with service.open() as engine:
                try:
                    servers = await engine.servers()
                except RequestFailed as problem:
                    raise EnvironmentProblem(f"{service.name}: {problem}") from None
            self.record.check(service.name, servers)

    async def run(self, services: Sequence[Service]) -> None:
        """Measure everything that is not settled yet; an optional service that fails is left out.

        Raises
        ------
        EnvironmentProblem
            If a service's servers die twice, or fail cell after cell; of optional services, if the last one does.
        MeasurementError
            If rows of the folder were measured on other servers.
        """
        # The last service of the first pass is the first of the second: its servers stay up.
        if self.plan.passes == 2:
            for service in services[:-1]:
                await self._try(service, services, self.begun, rounds=1, until_s=np.inf)
            services = services[::-1]
        for index, service in enumerate(services):
            until_s = self.spent_s + self._share_s(services[index:])
            await self._try(service, services, self.done, rounds=self.plan.most_repeats, until_s=until_s)
            self._tell_fewer(service)

    def cells(self, service: Service, limits: Limits | None) -> list[Cell]:
        """Return a service's cells: all that fit `limits`, or all without them."""
        return service.cells(self.plan) if limits is None else list(self._clipped(service, limits).kept)

    def tell_clipped(self, service: Service, limits: Limits) -> None:
        """Say, once a run, what of a service's cells its servers do not allow."""
        for line in self._clipped(service, limits).lines:
            text = f"{service.name}: {line}"
            if text not in self.left_out:
                self.left_out.append(text)
                self.say(text)

    def _clipped(self, service: Service, limits: Limits) -> Clipped:
        return clipped(service.cells(self.plan), limits, self.plan, decode_radix=service.decode_radix)

    def begun(self, cell: Cell) -> bool:
        """Return whether a cell was tried: all that the first pass asks, in this call or an earlier one."""
        return self.journal.has(cell.key)

    def done(self, cell: Cell) -> bool:
        """Return whether a cell needs no further row."""
        if isinstance(cell, LoadCell):
            return self.journal.has(cell.key)
        return self.journal.settled(cell.key, self.plan.repeats_for(cell))

    def affords(self, cell: Cell, until_s: float) -> bool:
        """Return whether a cell may be measured: the first time always, again until that much is spent."""
        return not self.begun(cell) or self.spent_s < until_s

    async def _try(
        self,
        service: Service,
        services: Sequence[Service],
        enough: Callable[[Cell], bool],
        *,
        rounds: int,
        until_s: float,
    ) -> None:
        """Visit a service, unless it was given up."""
        if service.name in self.given_up:
            return
        try:
            await self._pass(service, enough, rounds=rounds, until_s=until_s)
        except EnvironmentProblem as problem:
            self.given_up.add(service.name)
            others = [other for other in services if other.optional and other.name not in self.given_up]
            if not service.optional or not others:
                raise
            line = f"{service.name}: left out, {problem}; --transport chooses the links"
            self.left_out.append(line)
            self.say(line)

    def _share_s(self, services: Sequence[Service]) -> float:
        """Return the first of these services' share of what is left of the budget [s].

        Each gets in proportion to what one more row of all its unsettled cells costs; where that is not known yet, it
        is taken to be the mean of those that are.
        """
        if self.plan.budget_s is None:
            return np.inf
        typical_s = float(np.mean(list(self.costs_s.values()))) if self.costs_s else 1.0

        def lacking_s(service: Service) -> float:
            cells = [cell for cell in self.cells(service, self.journal.limits(service.name)) if not self.done(cell)]
            return sum(self.costs_s.get(cell.key, typical_s) for cell in cells)

        needs_s = [0.0 if service.name in self.given_up else lacking_s(service) for service in services]
        return max(0.0, self.plan.budget_s - self.spent_s) * needs_s[0] / max(sum(needs_s), 1e-9)

    def _tell_fewer(self, service: Service) -> None:
        """Say which cells the budget has left with fewer repeats."""
        limits = self.journal.limits(service.name)
        if self.plan.budget_s is None or limits is None or service.name in self.given_up:
            return
        keys = [cell.key for cell in self.cells(service, limits) if not self.done(cell)]
        if keys:
            self.fewer[service.name] = (
                f"{fewer_note(service)}: fewer than the plan asks for in {len(keys)} cell{'s' * (len(keys) > 1)}, its "
                f"budget of {self.plan.budget_s:g} s was spent (--resume goes on with a new one)"
            )
            self.say(f"{self.fewer[service.name]}: {', '.join(keys)}")

    async def _pass(self, service: Service, enough: Callable[[Cell], bool], *, rounds: int, until_s: float) -> None:
        cells = self.cells(service, self.journal.limits(service.name))
        if all(enough(cell) or not self.affords(cell, until_s) for cell in cells):
            # Starting servers takes minutes; an earlier visit has found out what fits and measured it.
            return
        for attempt in range(2):
            begin_s = time.monotonic()
            try:
                async with service.open() as engine:
                    self.seconds[f"start of {service.name}"] += time.monotonic() - begin_s
                    servers = await engine.servers()
                    self.record.check(service.name, servers)
                    self.infos[service.name] = decoding(servers)
                    await _Visit(self, service, engine, servers, until_s).rounds(enough, rounds)
                return
            except RequestFailed as problem:
                if problem.failure is not Failure.UNREACHABLE or attempt or not service.starts_servers:
                    raise EnvironmentProblem(f"{service.name}: {problem}") from None
                self.say(f"{service.name}: {problem}; starting it again, once")


def fewer_note(service: Service) -> str:
    """Return how the note on a service's missing repeats begins."""
    return f"repeats of {service.name}"


class _Visit:
    """One service while its servers are up; repeats end when the session has spent `until_s`."""

    def __init__(
        self,
        session: Session,
        service: Service,
        engine: AbstractEngine,
        servers: Mapping[str, EngineInfo],
        until_s: float,
    ) -> None:
        self._session = session
        self._service = service
        self._engine = engine
        self._info = decoding(servers)
        self._limits = limits_of(session.plan, servers)
        self._until_s = until_s
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
        session.tell_clipped(self._service, self._limits)
        session.journal.remember_limits(self._service.name, self._limits)
        cells = session.cells(self._service, self._limits)
        if all(enough(cell) for cell in cells):
            return
        await self._warm_up(cells)
        for number in range(most):
            todo = [cell for cell in cells if not enough(cell) and session.affords(cell, self._until_s)]
            if not todo:
                return
            session.say(f"{self._service.name}: round {number + 1}, {len(todo)} cells")
            for block in blocks_of(todo, session.rng):
                session.journal.last_block += 1
                await self._block(block)

    async def _warm_up(self, cells: Sequence[Cell]) -> None:
        """Send one turn of every size and throw it away: the first of a shape compiles."""
        begin_s = self._engine.now_s()
        await self._engine.flush()
        for new_tokens in sorted({cell.new_tokens for cell in cells if isinstance(cell, (PrefillCell, StallCell))}):
            if new_tokens <= self._info.kv_pool_tokens // 2:
                with suppress(RequestFailed):
                    await self._engine.generate(self._prompts.fresh(new_tokens), 2, timeout_s=TIMEOUT_S)
        self._session.seconds["warm-up"] += self._engine.now_s() - begin_s
        self._session.spent_s += self._engine.now_s() - begin_s

    async def _block(self, block: Block) -> None:
        prefix: list[int] | None = None
        for cell in block.cells:
            if not self._session.affords(cell, self._until_s):
                continue
            probe_s = self._engine.now_s()
            await self._probe()
            begin_s = self._engine.now_s()
            self._session.seconds["probes"] += begin_s - probe_s
            try:
                if isinstance(cell, PrefillCell):
                    if prefix is None:
                        prefix = await warm(self._engine, self._prompts, cell.cached_tokens)
                    await self._prefill(cell, prefix)
                else:
                    await self._other(cell)
                self._failed = 0
            except RequestFailed as problem:
                prefix = None
                await self._failure(cell.key, problem)
            finally:
                self._session.seconds[cell.kind] += self._engine.now_s() - begin_s
                self._session.spent_s += self._engine.now_s() - probe_s
                self._session.costs_s[cell.key] = self._engine.now_s() - begin_s

    async def _prefill(self, cell: PrefillCell, prefix: Sequence[int]) -> None:
        if prefix and self._empties_decode(cell):
            await self._engine.flush("decode")
        row = await measure_prefill(
            self._engine,
            self._info,
            cell,
            self._prompts,
            prefix,
            started_s=self._origin_s,
        )
        self._keep(row)

    async def _other(self, cell: Cell) -> None:
        session = self._session
        if isinstance(cell, DecodeCell):
            self._keep(await measure_decode(self._engine, cell, self._prompts, started_s=self._origin_s))
        elif isinstance(cell, StallCell):
            stalled = await measure_stall(
                self._engine,
                self._info,
                cell,
                self._prompts,
                decode_radix=self._service.decode_radix,
                started_s=self._origin_s,
            )
            self._keep(stalled)
        elif isinstance(cell, LoadCell):
            rows, failures = await play(
                self._engine,
                cell,
                conversations_of(session.plan, cell),
                self._prompts,
                longest_context_tokens=conversation_tokens(self._limits),
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

    def _empties_decode(self, cell: PrefillCell) -> bool:
        """Return whether D would keep the prefix of a turn that all of whose KV is to travel."""
        return self._service.decode_radix and cell.arm is Arm.P_FULL

    async def _probe(self) -> None:
        """Measure the probe if its time has come, so that the run shows when the launch floor moved."""
        probe = self._session.plan.probe
        if self._engine.now_s() - self._probed_s < probe.every_s:
            return
        cell = self._next_probe(probe)
        try:
            await self._prefill(cell, [])
        except RequestFailed as problem:
            await self._failure(cell.key, problem)
        self._probed_s = self._engine.now_s()

    def _next_probe(self, probe: Probe) -> PrefillCell:
        """Return the next probe: each arm in turn, where KV travels a small turn and one that shows the link.

        On an empty cache full and delta hand-offs do the same, so one of them carries the larger turn.
        """
        arms = self._service.arms
        cells = [
            PrefillCell(arm=arm, transport=transport, cached_tokens=0, new_tokens=probe.new_tokens, purpose="probe")
            for arm, transport in arms
        ]
        if arms[0][0] is not Arm.APPEND_D and probe.handoff_tokens is not None:
            cells.append(replace(cells[0], new_tokens=probe.handoff_tokens))
        fitting = [cell for cell in cells if longest_request_tokens(cell) <= self._limits.context_tokens] or cells[:1]
        self._probes += 1
        return fitting[(self._probes - 1) % len(fitting)]

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
