"""From settings to servers: which command, environment, port, GPUs and cores each has. Pure; nothing is started.

A server sees its GPUs through ``CUDA_VISIBLE_DEVICES`` and never through ``--base-gpu-id``: together the two count
twice ("invalid device ordinal"). Servers that share a GPU have a fixed KV pool and start one after another, because
the engine sizes a pool by the memory that is free when it starts. The router starts beside the last of them: it waits
for its workers by itself. Flags and variables are SGLang's and Mooncake's, as
they worked with SGLang 0.5.17 on H200 and H100: on two GPUs and on one that P and D shared, by TCP and in NVLink mode.

Not modelled: whether the pool fits the GPU beside the weights; the engine says so when it starts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ppdsim.engines.launch.launcher import AUTO
from ppdsim.engines.launch.placement import check_ports, gpu_groups, pins_of
from ppdsim.engines.launch.specs import Host, Role, ServerSpec
from ppdsim.engines.links import usable_transports
from ppdsim.engines.sglang.known_issues import KNOWN_ISSUES
from ppdsim.engines.sglang.launcher.settings import Settings
from ppdsim.errors import InputError
from ppdsim.types import Transport

TRANSPORT_ENVIRONMENT: dict[Transport, dict[str, str]] = {
    Transport.TCP: {"MC_FORCE_TCP": "1", "MC_TCP_ENABLE_CONNECTION_POOL": "1"},
    Transport.NVLINK: {"MC_INTRANODE_NVLINK": "true", "SGLANG_MOONCAKE_CUSTOM_MEM_POOL": "INTRA_NODE_NVLINK"},
    Transport.RDMA: {},
}
"""Variables by which mooncake chooses the link. RDMA is what it takes by itself where there are devices."""
LINK_VARIABLES = tuple(name for variables in TRANSPORT_ENVIRONMENT.values() for name in variables)
DUMMY_FLAGS = (
    *("--load-format", "dummy"),
    "--skip-tokenizer-init",
    *("--attention-backend", "fa3"),
    *("--sampling-backend", "pytorch"),
    *("--grammar-backend", "none"),
    *("--page-size", "64"),
)
"""A folder with only a config.json, random weights, no tokenizer; the backends are Hopper's."""
LOOPBACK = "127.0.0.1"
"""Where the router's Prometheus port listens. An address and no name: the router takes a name for every interface."""
WORKER_CHECK_S = 1
"""How often the router looks for a worker that does not answer yet [s]; its own default is 30."""
METRICS_FLAGS = ("--enable-metrics", "--enable-request-time-stats-logging")
POOL_EXAMPLE = 65_536


def chosen_transports(settings: Settings, host: Host) -> tuple[Transport, ...]:
    """Return the links between P and D, the fastest first; ``auto`` is every one that joins every P to every D."""
    if settings.transport != AUTO:
        return (Transport(settings.transport),)
    pairs = [(p, d) for p in settings.prefill_gpus for d in settings.decode_gpus]
    return usable_transports(pairs, nvlink_lanes=host.nvlink_lanes, rdma=host.infiniband)


def layout(settings: Settings, host: Host) -> tuple[ServerSpec, ...]:
    """Return the servers in the order in which they start, the router last.

    Raises
    ------
    InputError
        If the settings name no servers, contradict each other, or share a GPU or a port in a way that cannot work.
    """
    check(settings)
    groups = [
        (role, number, gpus)
        for role, listed in (
            (Role.PREFILL, settings.prefill_gpus),
            (Role.DECODE, settings.decode_gpus),
            (Role.UNIFIED, settings.unified_gpus),
        )
        for number, gpus in enumerate(gpu_groups(listed, settings.tp, role))
    ]
    pd = bool(settings.prefill_gpus)
    pins = pins_of(settings, host, [*(f"{role.value}-{number}" for role, number, _ in groups), *(["router"] * pd)])
    transport = chosen_transports(settings, host)[0]
    if settings.ib_device is not None and transport is not Transport.RDMA:
        raise InputError(f"ib_device {settings.ib_device}: the transport is {transport.value}, expected rdma")
    next_wave: dict[int, int] = {}
    servers: list[ServerSpec] = []
    for (role, number, gpus), pin in zip(groups, pins, strict=False):
        wave = max(next_wave.get(gpu, 0) for gpu in gpus)
        next_wave.update(dict.fromkeys(gpus, wave + 1))
        servers.append(_engine(settings, role, number, gpus, transport, wave, pin))
    _check_pools(settings, servers)
    servers.sort(key=lambda spec: spec.wave)
    if pd:
        servers.append(_router(settings, servers, pins[-1]))
    check_ports(servers)
    return tuple(servers)


def check(settings: Settings) -> None:
    """Refuse settings that name no servers or one half of a pair, or flags that cannot work.

    Raises
    ------
    InputError
        Naming the option.
    """
    if bool(settings.prefill_gpus) != bool(settings.decode_gpus):
        raise InputError("--prefill-gpu and --decode-gpu belong together: give both or neither")
    if not settings.prefill_gpus and not settings.unified_gpus:
        raise InputError("no servers: give --prefill-gpu and --decode-gpu, or --unified-gpu")
    flags = (*settings.engine_flags, *settings.prefill_flags, *settings.decode_flags, *settings.unified_flags)
    if any(flag.split("=")[0] == "--base-gpu-id" for flag in flags):
        raise InputError("--base-gpu-id: each server has CUDA_VISIBLE_DEVICES, where its GPU is 0; leave the flag out")


def _engine(
    settings: Settings,
    role: Role,
    number: int,
    gpus: tuple[int, ...],
    transport: Transport,
    wave: int,
    pin: tuple[str, ...],
) -> ServerSpec:
    first, own = {
        Role.PREFILL: (settings.ports.prefill, settings.prefill_flags),
        Role.DECODE: (settings.ports.decode, settings.decode_flags),
        Role.UNIFIED: (settings.ports.unified, settings.unified_flags),
    }[role]
    bootstrap_port = settings.ports.bootstrap + number if role is Role.PREFILL else None
    argv = [*pin, *settings.engine_program, "--model-path", settings.model]
    argv += ["--host", settings.host, "--port", str(first + number)]
    if role is not Role.UNIFIED:
        argv += ["--disaggregation-mode", role.value, "--disaggregation-transfer-backend", "mooncake"]
    if bootstrap_port is not None:
        argv += ["--disaggregation-bootstrap-port", str(bootstrap_port)]
    if settings.ib_device is not None and role is not Role.UNIFIED:
        argv += ["--disaggregation-ib-device", settings.ib_device]
    argv += ["--tp", str(settings.tp)]
    if settings.dummy_weights:
        argv += DUMMY_FLAGS
    elif settings.trust_remote_code:
        argv += ["--trust-remote-code"]
    if settings.metrics:
        argv += METRICS_FLAGS
    if settings.max_total_tokens is not None:
        argv += ["--max-total-tokens", str(settings.max_total_tokens)]
    if settings.max_total_tokens is None or "mem_fraction_static" in settings.model_fields_set:
        argv += ["--mem-fraction-static", f"{settings.mem_fraction_static:g}"]
    if role is Role.DECODE and settings.decode_radix:
        argv += ["--disaggregation-decode-enable-radix-cache"]
    # All servers are on this host: the engine need not find out its address, which fails without a network.
    link = {"SGLANG_HOST_IP": settings.host, **TRANSPORT_ENVIRONMENT[transport]} if role is not Role.UNIFIED else {}
    return ServerSpec(
        name=f"{role.value}-{number}",
        role=role,
        argv=(*argv, *settings.engine_flags, *own),
        env={"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)), **link, **settings.environment},
        host=settings.host,
        port=first + number,
        bootstrap_port=bootstrap_port,
        gpus=gpus,
        wave=wave,
        not_inherited=LINK_VARIABLES,
        known_issues=KNOWN_ISSUES,
    )


def _router(settings: Settings, servers: Sequence[ServerSpec], pin: tuple[str, ...]) -> ServerSpec:
    argv = [*pin, *settings.router_program, "--pd-disaggregation"]
    if settings.router == "mini-lb":
        argv += ["--mini-lb"]
    else:
        # A retry would hide a failure, and an opened circuit a server that was started again.
        argv += ["--policy", "random", "--disable-retries", "--disable-circuit-breaker"]
        argv += ["--prometheus-host", LOOPBACK, "--prometheus-port", str(settings.ports.metrics)]
        argv += ["--worker-startup-check-interval", str(WORKER_CHECK_S)]
        argv += ["--worker-startup-timeout-secs", str(math.ceil(settings.start_timeout_s))]
    argv += ["--host", settings.host, "--port", str(settings.ports.router)]
    for spec in servers:
        if spec.role is Role.PREFILL:
            argv += ["--prefill", spec.url, str(spec.bootstrap_port)]
    for spec in servers:
        if spec.role is Role.DECODE:
            argv += ["--decode", spec.url]
    return ServerSpec(
        name="router",
        role=Role.ROUTER,
        argv=(*argv, *settings.router_flags),
        env=settings.environment,
        host=settings.host,
        port=settings.ports.router,
        metrics_port=None if settings.router == "mini-lb" else settings.ports.metrics,
        # /readiness answers 200 once the router has found its workers healthy.
        health_path="/health" if settings.router == "mini-lb" else "/readiness",
        wave=max(spec.wave for spec in servers),
        not_inherited=LINK_VARIABLES,
        known_issues=KNOWN_ISSUES,
    )


def _check_pools(settings: Settings, servers: Sequence[ServerSpec]) -> None:
    users: dict[int, list[str]] = {}
    for spec in servers:
        for gpu in spec.gpus:
            users.setdefault(gpu, []).append(spec.name)
    for gpu, names in users.items():
        if len(names) > 1 and settings.max_total_tokens is None:
            raise InputError(
                f"GPU {gpu} is shared by {' and '.join(names)}: give each a fixed KV pool, such as "
                f"--max-total-tokens {POOL_EXAMPLE}"
            )
