"""Services of stand-in engines in this process, on whatever event loop runs."""

from __future__ import annotations

from contextlib import asynccontextmanager

from engines.sglang.standin.inprocess import InProcessEngine

from ppdsim import library, profile
from ppdsim.engines import ENGINES
from ppdsim.measure.calibrate import Machine
from ppdsim.measure.machine import gpu_of
from ppdsim.measure.service import Service, handoff_arms
from ppdsim.measure.transfer import Link
from ppdsim.measurements import Model
from ppdsim.types import Arm, Transport

SHIPPED = profile.load(library.find("profile", "h200x2_llama-3.1-8b_sglang-0.5.17"))
LLAMA = Model(
    name="Llama-3.1-8B",
    layers=32,
    kv_heads=8,
    query_heads=32,
    head_dim=128,
    dtype="bfloat16",
    dtype_bytes=2,
    matrix_parameters=6.98e9,
    vocabulary_parameters=0.525e9,
    weights="none: a stand-in",
)
MACHINE = Machine(run_id="stand-in", name="a stand-in", gpu=gpu_of("NVIDIA H200", 1), link="none", model=LLAMA)


def service(arm: Arm, transport: Transport, *, spoil=None, decode_radix=False, **options) -> Service:
    """Return a service for one arm, or for both hand-offs where D has a prefix cache.

    `spoil` is called with each engine that it opens.
    """

    @asynccontextmanager
    async def open_engine():
        engine = InProcessEngine(
            SHIPPED,
            disaggregated=arm is not Arm.APPEND_D,
            transport=transport if arm is not Arm.APPEND_D else Transport.TCP,
            decode_radix=decode_radix,
            **options,
        )
        if spoil is not None:
            spoil(engine)
        yield engine
        await engine.close()

    arms = handoff_arms(transport, decode_radix=True) if decode_radix else ((arm, transport),)
    return Service(name=f"{arm.value} {transport.value}", arms=arms, open=open_engine)


def link_alone(transport: Transport, gpus: tuple[int, int] | None = None) -> Link:
    return Link(alone=ENGINES["sglang"].link_alone, transport=transport, gpus=gpus)


UNIFIED = (Arm.APPEND_D, Transport.NONE)
FULL_TCP = (Arm.P_FULL, Transport.TCP)
DELTA_TCP = (Arm.P_DELTA, Transport.TCP)
FULL_NVLINK = (Arm.P_FULL, Transport.NVLINK)
