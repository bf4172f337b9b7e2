"""All checks, in the order in which a machine is set up. A new one is a function, a line here, and a test case.

Several run at a time, each for itself: what takes long is libraries that are imported in processes of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from ppdsim.calibrate.doctor import apt, driver, gpus, software, surroundings, transfer
from ppdsim.calibrate.doctor.finding import Finding, Status
from ppdsim.calibrate.doctor.machine import AbstractMachine
from ppdsim.registry import Registry

AT_ONCE = 4
"""Checks that run at a time: each import of torch or the engine takes a core and some GiB."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Every finding, and the transport that this machine should take."""

    findings: tuple[Finding, ...]
    transport: str

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
    findings = [finding for found in _all_checks(machine, waiting) for finding in found]
    findings += surroundings.check_model(model)
    findings += about_log
    return Examination(findings=tuple(findings), transport=gpus.recommended(machine).value)


def _all_checks(machine: AbstractMachine, waiting: Callable[[tuple[str, ...]], None]) -> list[list[Finding]]:
    """Return what each check found, in their order."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ppdsim-doctor") as pool:
        running = {pool.submit(check, machine): name for name, check in CHECKS.items()}
        left = set(running)
        try:
            while left:
                _, left = wait(left, timeout=TOLD_EVERY_S)
                if left:
                    waiting(tuple(name for future, name in running.items() if future in left))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in running]
