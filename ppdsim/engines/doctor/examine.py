"""An examination of this machine before an engine is served: every check of the engine, and what they found.

All begin at once, each for itself. What takes long is libraries that are imported in processes of their own (the engine
the longest), and the first question to the NVIDIA driver, so that none may wait for the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from ppdsim.engines.doctor.finding import Finding, Status
from ppdsim.machine.host import AbstractMachine
from ppdsim.types import Transport

TOLD_EVERY_S = 1.0
AT_ONCE = 32
"""Checks that run at a time: all of them. Five of SGLang's import libraries, each in a process that takes a core."""
Check = Callable[[AbstractMachine], list[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Every finding, the transport that this machine should take, and how long each check took [s]."""

    findings: tuple[Finding, ...]
    transport: str
    took_s: Mapping[str, float]

    @property
    def failed(self) -> bool:
        """Return whether anything keeps servers from running here."""
        return any(finding.status is Status.FAILURE for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """What one engine needs of a machine.

    Attributes
    ----------
    checks : mapping
        By name, in the order in which a machine is set up.
    model : callable
        Looks at a model's folder, if one is given.
    log : callable
        Explains a server's log or an error text, if one is given.
    transport : callable
        Returns the fastest transport that a machine has between the GPUs that P and D would take.
    """

    checks: Mapping[str, Check]
    model: Callable[[Path | None, AbstractMachine], list[Finding]]
    log: Callable[[Path | None], list[Finding]]
    transport: Callable[[AbstractMachine], Transport]

    def examine(
        self,
        machine: AbstractMachine,
        *,
        model: Path | None = None,
        log: Path | None = None,
        waiting: Callable[[tuple[str, ...]], None] = lambda _: None,
    ) -> Examination:
        """Run every check, and look at a model's folder and at a log where they are given.

        Parameters
        ----------
        machine : AbstractMachine
            The machine.
        model : Path, optional
            Folder of a model.
        log : Path, optional
            A server's log, or an error text.
        waiting : callable
            Told every second which checks have not ended.

        Raises
        ------
        InputError
            If there is no such log.
        """
        about_log = self.log(log)
        checked = _all_checks(self.checks, machine, waiting)
        findings = [finding for found, _ in checked.values() for finding in found]
        findings += self.model(model, machine)
        findings += about_log
        took_s = {name: took for name, (_, took) in checked.items()}
        return Examination(findings=tuple(findings), transport=self.transport(machine).value, took_s=took_s)


def _timed(check: Check, machine: AbstractMachine) -> tuple[list[Finding], float]:
    begin_s = time.monotonic()
    return check(machine), time.monotonic() - begin_s


def _all_checks(
    checks: Mapping[str, Check], machine: AbstractMachine, waiting: Callable[[tuple[str, ...]], None]
) -> dict[str, tuple[list[Finding], float]]:
    """Return what each check found and how long it took [s], in their order."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ppdsim-doctor") as pool:
        running = {pool.submit(_timed, check, machine): name for name, check in checks.items()}
        left = set(running)
        try:
            while left:
                _, left = wait(left, timeout=TOLD_EVERY_S)
                if left:
                    waiting(tuple(name for future, name in running.items() if future in left))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return {name: future.result() for future, name in running.items()}
