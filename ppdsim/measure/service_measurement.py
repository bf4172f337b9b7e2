"""Measure one service while its servers are up, in rounds of blocks with probes in between.

Every row is checked and written before the next is measured. A cell that fails is named and skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ppdsim.engines.client import AbstractClient, EngineInfo, Failure, RequestFailed
from ppdsim.errors import EnvironmentProblem
from ppdsim.measure.cells import Cell, DecodeCell, LoadCell, PrefillCell, StallCell
from ppdsim.measure.decode import measure_decode
from ppdsim.measure.limits import Limits, conversation_tokens, longest_request_tokens
from ppdsim.measure.load import play
from ppdsim.measure.order import Block, blocks_of
from ppdsim.measure.plan import WARM_TOGETHER, WARM_TOKENS, Probe, conversations_of
from ppdsim.measure.prefill import TIMEOUT_S, measure_prefill, warm
from ppdsim.measure.prompts import Prompts
from ppdsim.measure.run import Run
from ppdsim.measure.service import Service
from ppdsim.measure.stall import measure_stall
from ppdsim.measurements import LoadRow, MeasuredRow, impossible
from ppdsim.types import Arm

FAILURES_IN_A_ROW = 5
"""Failed cells in a row after which a service is given up: it is not one cell's fault."""
CHECK_TOKENS = 16
"""Prompt of the turn that tells a server that hangs from a request that did [tokens]."""
CHECK_S = 10.0
"""Bound on that turn [s]: with the bounds on a silent server, an abort and a flush it is a minute."""


class ServiceMeasurement:
    """Measures one service while its servers are up.

    `info` describes the server that decodes, `limits` says what the servers allow. Repeats end when the run has spent
    `until_s` of its budget.
    """

    def __init__(
        self, run: Run, service: Service, engine: AbstractClient, info: EngineInfo, limits: Limits, *, until_s: float
    ) -> None:
        self._run = run
        self._service = service
        self._engine = engine
        self._info = info
        self._limits = limits
        self._until_s = until_s
        self._prompts = Prompts(run.rng)
        self._probed_s = -np.inf
        self._probes = 0
        self._failed = 0
        # Each engine may have a clock of its own; the event loop's goes on from one to the next.
        now_s = asyncio.get_running_loop().time()
        if run.origin_s is None:
            elapsed_s = run.record.elapsed_s(run.unix_s(), at_least_s=run.journal.last_elapsed_s)
            run.origin_s = now_s - elapsed_s
        self._origin_s = engine.now_s() - (now_s - run.origin_s)

    async def rounds(self, enough: Callable[[Cell], bool], most: int) -> None:
        """Measure, for at most `most` rounds, every cell of which there is not `enough`.

        Raises
        ------
        RequestFailed
            If the servers cannot be reached.
        EnvironmentProblem
            If cell after cell fails.
        """
        run = self._run
        cells = run.pending.cells(self._service)
        if all(enough(cell) for cell in cells):
            return
        await self._warm_up(cells)
        for number in range(most):
            todo = [cell for cell in cells if not enough(cell) and run.affords(cell, self._until_s)]
            if not todo:
                return
            run.show_line(f"{self._service.name}: round {number + 1}, {len(todo)} cells")
            for block in blocks_of(todo, run.rng):
                run.journal.last_block += 1
                await self._block(block)

    async def _warm_up(self, cells: Sequence[Cell]) -> None:
        """Send a turn of every size, and before a load several at once, and throw them away: the first compiles."""
        begin_s = self._engine.now_s()
        await self._engine.flush()
        for new_tokens in sorted({cell.new_tokens for cell in cells if isinstance(cell, (PrefillCell, StallCell))}):
            if new_tokens <= self._info.kv_pool_tokens // 2:
                await self._thrown_away(new_tokens)
        if any(isinstance(cell, LoadCell) for cell in cells):
            for requests in WARM_TOGETHER:
                await asyncio.gather(*(self._thrown_away(WARM_TOKENS) for _ in range(requests)))
        self._run.seconds["warm-up"] += self._engine.now_s() - begin_s
        self._run.budget.spent_s += self._engine.now_s() - begin_s

    async def _thrown_away(self, new_tokens: int) -> None:
        """Send a turn that is no measurement; if it fails, whatever is measured will show why.

        Raises
        ------
        RequestFailed
            If the servers cannot be reached, or hang.
        """
        try:
            await self._engine.generate(self._prompts.fresh(new_tokens), 2, timeout_s=TIMEOUT_S)
        except RequestFailed as problem:
            if problem.failure is Failure.TIMEOUT:
                await self._to_idle(problem)

    async def _block(self, block: Block) -> None:
        prefix: list[int] | None = None
        for cell in block.cells:
            if not self._run.affords(cell, self._until_s):
                continue
            probe_s = self._engine.now_s()
            await self._probe()
            begin_s = self._engine.now_s()
            self._run.seconds["probes"] += begin_s - probe_s
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
                self._run.seconds[cell.kind] += self._engine.now_s() - begin_s
                self._run.budget.spent_s += self._engine.now_s() - probe_s
                self._run.budget.costs_s[cell.key] = self._engine.now_s() - begin_s

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
        run = self._run
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
                conversations_of(run.plan, cell),
                self._prompts,
                longest_context_tokens=conversation_tokens(self._limits),
            )
            for text in [*map(str, failures), *filter(None, map(self._refused, rows))]:
                run.journal.skip(cell.key, text)
            if failures and not rows:
                raise failures[-1]

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
        run = self._run
        reason = impossible(row, run.floor)
        if reason is not None:
            raise RequestFailed(Failure.REFUSED, reason)
        run.journal.add(row.model_copy(update={"block": run.journal.last_block}))

    def _empties_decode(self, cell: PrefillCell) -> bool:
        """Return whether D would keep the prefix of a turn that all of whose KV is to travel."""
        return self._service.decode_radix and cell.arm is Arm.P_FULL

    async def _probe(self) -> None:
        """Measure the probe if its time has come, so that the run shows when the launch floor moved."""
        probe = self._run.plan.probe
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
            If the servers cannot be reached, or hang.
        EnvironmentProblem
            If cell after cell fails.
        """
        self._run.journal.skip(cell, str(problem))
        self._run.show_line(f"skipped {cell}: {problem}")
        if problem.failure is Failure.UNREACHABLE:
            raise problem
        self._failed += 1
        if self._failed >= FAILURES_IN_A_ROW:
            raise EnvironmentProblem(f"{self._service.name}: {self._failed} cells failed in a row, the last: {problem}")
        await self._to_idle(problem)

    async def _to_idle(self, problem: RequestFailed) -> None:
        """Bring the servers back to idle after a failure; if nothing came in time, see whether they answer at all.

        Raises
        ------
        RequestFailed
            If they cannot be reached, or do not answer a small turn either.
        """
        await self._engine.abort_all()
        try:
            await self._engine.flush()
        except RequestFailed as still:
            if still.failure is Failure.UNREACHABLE:
                raise
            # Every cell begins with a flush: if this one's failure lasts, the next cell fails by it and is counted.
            self._run.show_line(f"{self._service.name}: {still}")
        if problem.failure is Failure.TIMEOUT:
            try:
                await self._engine.generate(self._prompts.fresh(CHECK_TOKENS), 2, timeout_s=CHECK_S)
            except RequestFailed as again:
                small = f"then a turn of {CHECK_TOKENS} tokens: {again}"
                raise RequestFailed(Failure.UNREACHABLE, f"hangs: {problem}, {small}") from None
