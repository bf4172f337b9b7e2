"""One calibration run: services in two passes; every row is on disk at once.

The first pass measures every cell once on each service; the second goes through the services in reverse order and
repeats until the cells are settled, so that an arm's repeats lie on both sides of every other arm's. A plan of one pass
stays with each service until its cells are settled: fewer starts, and drift between services cannot be seen. Servers
that die are started again once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from ppdsim.engines.client import Failure, RequestFailed, decoding
from ppdsim.errors import EnvironmentProblem
from ppdsim.machine.signals import Interrupts
from ppdsim.measure.cells import Cell
from ppdsim.measure.cores import cores_of
from ppdsim.measure.limits import limits_of
from ppdsim.measure.run import Run, left_out_note
from ppdsim.measure.service import Service
from ppdsim.measure.service_measurement import ServiceMeasurement


async def reach(run: Run, services: Sequence[Service]) -> None:
    """Ask every server that should be running and is still needed what it is, before an hour is spent on others.

    Raises
    ------
    EnvironmentProblem
        If one of them cannot be reached.
    MeasurementError
        If rows of the folder were measured on others.
    """
    for service in services:
        if service.starts_servers or (run.described and not run.pending.undone(service)):
            continue
        async with service.open() as engine:
            try:
                servers = await engine.servers()
            except RequestFailed as problem:
                raise EnvironmentProblem(f"{service.name}: {problem}") from None
        run.record.check(service.name, servers)


class Session:
    """The passes of a run over its services; those that were given up are not measured again."""

    def __init__(self, run: Run, services: Sequence[Service]) -> None:
        self._run = run
        self._services = services
        self._given_up: set[str] = set()

    async def measure(self) -> None:
        """Measure everything that is not settled yet; an optional service that fails is left out.

        Raises
        ------
        EnvironmentProblem
            If a service's servers die twice, or fail cell after cell; of optional services, if the last one does.
        MeasurementError
            If rows of the folder were measured on other servers.
        KeyboardInterrupt
            On Ctrl-C, SIGTERM or SIGHUP, servers that were started being down.
        """
        interrupts = Interrupts()
        # Here, and not around the event loop: its own way to end on Ctrl-C is then that of the others too.
        interrupts.take()
        try:
            await self._passes()
        finally:
            interrupts.give_back()

    async def _passes(self) -> None:
        run, services = self._run, self._services
        # The last service of the first pass is the first of the second: its servers stay up.
        if run.plan.passes == 2:
            for service in services[:-1]:
                await self._try(service, run.pending.begun, rounds=1, until_s=np.inf)
            services = services[::-1]
        for index, service in enumerate(services):
            lacking = [[] if one.name in self._given_up else run.pending.undone(one) for one in services[index:]]
            until_s = run.budget.spent_s + run.budget.share_s(lacking)
            await self._try(service, run.pending.done, rounds=run.plan.most_repeats, until_s=until_s)
            self._tell_fewer(service)

    async def _try(self, service: Service, enough: Callable[[Cell], bool], *, rounds: int, until_s: float) -> None:
        """Measure a service, unless it was given up."""
        if service.name in self._given_up:
            return
        try:
            await self._measure(service, enough, rounds=rounds, until_s=until_s)
        except EnvironmentProblem as problem:
            self._given_up.add(service.name)
            others = [one for one in self._services if one.optional and one.name not in self._given_up]
            if not service.optional or not others:
                raise
            why = str(problem).removeprefix(f"{service.name}: ")
            line = f"{left_out_note(service.name)}{why}; --transport chooses the links"
            self._run.left_out.append(line)
            self._run.show_line(line)

    def _tell_fewer(self, service: Service) -> None:
        """Say which cells the budget has left with fewer repeats."""
        run = self._run
        if run.budget.total_s is None or run.journal.limits(service.name) is None or service.name in self._given_up:
            return
        keys = [cell.key for cell in run.pending.undone(service)]
        if keys:
            run.fewer[service.name] = run.budget.fewer(service.name, run.plan.name, keys)
            run.show_line(f"{run.fewer[service.name]}: {', '.join(keys)}")

    async def _measure(self, service: Service, enough: Callable[[Cell], bool], *, rounds: int, until_s: float) -> None:
        run = self._run
        nothing = all(enough(cell) or not run.affords(cell, until_s) for cell in run.pending.cells(service))
        if nothing and run.described:
            # Starting servers takes minutes; an earlier pass has found out what fits and measured it.
            return
        for attempt in range(2):
            begin_s = time.monotonic()
            try:
                async with service.open() as engine:
                    run.seconds[f"start of {service.name}"] += time.monotonic() - begin_s
                    servers = await engine.servers()
                    run.record.check(service.name, servers)
                    limits = limits_of(run.plan, servers)
                    run.learn_limits(service, limits)
                    run.infos[service.name] = info = decoding(servers)
                    run.record.note_cores(cores_of(service.name, engine.places()))
                    run.begin()
                    await ServiceMeasurement(run, service, engine, info, limits, until_s=until_s).rounds(enough, rounds)
                return
            except RequestFailed as problem:
                if problem.failure is not Failure.UNREACHABLE or attempt or not service.starts_servers:
                    raise EnvironmentProblem(f"{service.name}: {problem}") from None
                run.show_line(f"{service.name}: {problem}; starting it again, once")
