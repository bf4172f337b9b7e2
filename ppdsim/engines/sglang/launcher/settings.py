"""What ``ppdsim serve`` starts, as a YAML file: ports, GPUs, transport, memory, further flags.

The defaults are those of the stack that the project began with: router 30000, prefill 30100, decode 30200, bootstrap
9000, the router's metrics 29000, memory fraction 0.85. Units stand in the key names.
"""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ppdsim.scenario.lengths import NonNegativeInt, Positive, PositiveInt

Port = Annotated[int, Field(ge=1, le=65_535)]


def _split(value: Any) -> Any:
    """Let a command stand in the file as one text, as it would be typed."""
    if isinstance(value, str):
        return tuple(shlex.split(value))
    return tuple(value) if isinstance(value, list) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_split)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ports(_Part):
    """First port of each role; the second server of a role takes the next one. `metrics` is the router's."""

    router: Port = 30_000
    prefill: Port = 30_100
    decode: Port = 30_200
    unified: Port = 30_300
    bootstrap: Port = 9_000
    metrics: Port = 29_000


class Settings(_Part):
    """Everything that decides the commands.

    GPUs are taken in groups of `tp`, one server a group. `max_total_tokens` is the KV pool of each server [tokens]; it
    takes the place of `mem_fraction_static` unless both are given. `cpu_pin` is ``auto`` or lists of cores
    (``0-3/4-7/8``), one a server: prefill, decode, unified, router. `environment` goes to every server. Flags are
    appended to a server's command, so they win over what is there.
    """

    model: str
    prefill_gpus: tuple[NonNegativeInt, ...] = ()
    decode_gpus: tuple[NonNegativeInt, ...] = ()
    unified_gpus: tuple[NonNegativeInt, ...] = ()
    tp: PositiveInt = 1
    transport: Literal["auto", "tcp", "nvlink", "rdma"] = "auto"
    ib_device: str | None = None
    decode_radix: bool = False
    dummy_weights: bool = False
    max_total_tokens: PositiveInt | None = None
    mem_fraction_static: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.85
    trust_remote_code: bool = True
    metrics: bool = True
    router: Literal["real", "mini-lb"] = "real"
    host: str = "127.0.0.1"
    ports: Ports = Ports()
    cpu_pin: str | None = None
    engine_program: Words = (sys.executable, "-m", "sglang.launch_server")
    router_program: Words = (sys.executable, "-m", "sglang_router.launch_router")
    engine_flags: Words = ()
    prefill_flags: Words = ()
    decode_flags: Words = ()
    unified_flags: Words = ()
    router_flags: Words = ()
    environment: dict[str, str] = {}
    start_timeout_s: Positive = 900.0
    stop_timeout_s: Positive = 15.0
