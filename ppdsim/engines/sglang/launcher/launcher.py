"""SGLang's servers and sglang-router on one host, before they run; hand-offs by mooncake."""

from __future__ import annotations

import os
from functools import partial

from ppdsim import extras
from ppdsim.engines.launch.launcher import Launcher
from ppdsim.engines.launch.settings_file import load_settings
from ppdsim.engines.launch.specs import Host
from ppdsim.engines.sglang.doctor.transfer import rdma_devices, usable_lanes
from ppdsim.engines.sglang.doctor.versions import DECODE_RADIX_SINCE, numbers
from ppdsim.engines.sglang.launcher.expected import expected
from ppdsim.engines.sglang.launcher.hand_offs import hand_offs
from ppdsim.engines.sglang.launcher.layout import check, chosen_transports, layout
from ppdsim.engines.sglang.launcher.link import refuse_missing_link
from ppdsim.engines.sglang.launcher.settings import Settings
from ppdsim.engines.sglang.launcher.unread import unread
from ppdsim.machine.host import AbstractMachine


def _require_programs(settings: Settings) -> None:
    """Say before anything is started that a program of the settings is not installed; one of the user's own may be.

    Raises
    ------
    EnvironmentProblem
        If SGLang or its router is to be started and is missing.
    """
    if settings.engine_program == Settings.model_fields["engine_program"].default:
        extras.require("sglang", by="a server", instead="ppdsim fake-stack, which needs no GPU")
    if settings.prefill_gpus and settings.router_program == Settings.model_fields["router_program"].default:
        extras.require("sglang_router", by="the router of a prefill/decode pair")


def host_of(machine: AbstractMachine, runs_here: bool = True) -> Host:
    """Return what a machine offers to servers that this process starts, or would start (`runs_here` False)."""
    # Where the operating system has no affinity (macOS), every core may be used.
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    engine = machine.version("sglang")
    return Host(
        cores=tuple(sorted(allowed)),
        infiniband=bool(rdma_devices(machine)),
        nvlink_lanes=usable_lanes(machine),
        gpu_memory_bytes=tuple(gpu.memory_bytes for gpu in machine.gpus()),
        decode_radix=engine is None or numbers(engine) >= numbers(DECODE_RADIX_SINCE),
        runs_here=runs_here,
    )


def _without_delta(machine: AbstractMachine) -> str:
    engine = f"SGLang {machine.version('sglang')}"
    return f"{engine} gives D no prefix cache ({DECODE_RADIX_SINCE} does): full hand-offs only"


LAUNCHER = Launcher(
    load=partial(load_settings, Settings),
    check=check,
    unread=unread,
    require_programs=_require_programs,
    host=host_of,
    refuse_missing_link=refuse_missing_link,
    transports=chosen_transports,
    layout=layout,
    expected=expected,
    without_delta=_without_delta,
    hand_offs=hand_offs,
)
