"""All checks, in the order in which a machine is set up. A new one is a function, a line here, and a test case.

All begin at once, each for itself. What takes long is libraries that are imported in processes of their own (SGLang the
longest), and the first question to the NVIDIA driver, so that none may wait for the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from ppdsim.engines.sglang.doctor import apt, driver, gpus, software, surroundings, transfer
from ppdsim.engines.sglang.doctor.finding import Finding, Status
from ppdsim.machine.host import AbstractMachine
from ppdsim.registry import Registry

TOLD_EVERY_S = 1.0
Check = Callable[[AbstractMachine], list[Finding]]

CHECKS: Registry[Check] = Registry(
    "check",
    {
        "python": software.check_python,
        "driver": driver.check_driver,
        "gpus": gpus.check_gpus,
        "links": gpus.check_links,
        "torch": software.check_torch,
        "sglang": software.check_engine,
        "kernel": software.check_kernel,
        "flashinfer": software.check_flashinfer,
        "mooncake": transfer.check_mooncake,
        "rdma": transfer.check_rdma,
        "router": surroundings.check_router,
        "ports": surroundings.check_ports,
        "environment": surroundings.check_environment,
        "apt": apt.check_apt,
    },
)


AT_ONCE = len(CHECKS)
"""Checks that run at a time. Five import libraries, each in a process that takes a core and some GiB."""


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


def examine(
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
    about_log = surroundings.check_log(log)
    checked = _all_checks(machine, waiting)
    findings = [finding for found, _ in checked.values() for finding in found]
    findings += surroundings.check_model(model, machine)
    findings += about_log
    took_s = {name: took for name, (_, took) in checked.items()}
    return Examination(findings=tuple(findings), transport=gpus.recommended(machine).value, took_s=took_s)


def _timed(check: Check, machine: AbstractMachine) -> tuple[list[Finding], float]:
    begin_s = time.monotonic()
    return check(machine), time.monotonic() - begin_s


def _all_checks(
    machine: AbstractMachine, waiting: Callable[[tuple[str, ...]], None]
) -> dict[str, tuple[list[Finding], float]]:
    """Return what each check found and how long it took [s], in their order."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ppdsim-doctor") as pool:
        running = {pool.submit(_timed, check, machine): name for name, check in CHECKS.items()}
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
