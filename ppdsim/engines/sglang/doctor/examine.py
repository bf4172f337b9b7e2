"""What the doctor looks at before SGLang is served, in the order in which a machine is set up.

A new check is a function, a line here, and a test case.
"""

from __future__ import annotations

from ppdsim.engines.doctor.driver import check_driver
from ppdsim.engines.doctor.examine import Check, Doctor
from ppdsim.engines.sglang.doctor import apt, gpus, software, surroundings, transfer
from ppdsim.registry import Registry

CHECKS: Registry[Check] = Registry(
    "check",
    {
        "python": software.check_python,
        "driver": check_driver,
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

DOCTOR = Doctor(checks=CHECKS, model=surroundings.check_model, log=surroundings.check_log, transport=gpus.recommended)
