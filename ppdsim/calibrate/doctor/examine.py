"""All checks, in the order in which a machine is set up. A new one is a function, a line here, and a test case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ppdsim.calibrate.doctor import apt, driver, gpus, software, surroundings, transfer
from ppdsim.calibrate.doctor.finding import Finding, Status
from ppdsim.calibrate.doctor.machine import AbstractMachine
from ppdsim.registry import Registry

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


def examine(machine: AbstractMachine, *, model: Path | None = None, log: Path | None = None) -> Examination:
    """Run every check, and look at a model's folder and at a log where they are given.

    Raises
    ------
    InputError
        If there is no such log.
    """
    about_log = surroundings.check_log(log)
    findings = [finding for check in CHECKS.values() for finding in check(machine)]
    findings += surroundings.check_model(model)
    findings += about_log
    return Examination(findings=tuple(findings), transport=gpus.recommended(machine).value)
