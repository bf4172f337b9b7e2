"""The program's command line: SGLang's own flags, and a few of the stand-in's.

SGLang's flags that change what a server does here are understood; all others are accepted, and reported in
``/server_info``, so that a command line made for the engine starts the stand-in unchanged.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ppdsim.engines.sglang.standin.build import Mode
from ppdsim.engines.sglang.standin.faults import Fault
from ppdsim.engines.stand_in import DEFAULT_PROFILE
from ppdsim.types import Transport

KV_TRANSFERS = ("profile", "mooncake")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What one stand-in server was started with.

    `kv_bytes_per_token` and `kv_buffers` shape the bytes that mooncake carries: None for the model's own. `flags` is
    what ``/server_info`` repeats.
    """

    mode: Mode
    host: str
    port: int
    bootstrap_port: int
    profile: str
    transport: Transport
    decode_radix: bool = False
    kv_pool_tokens: int | None = None
    page_tokens: int | None = None
    chunk_tokens: int | None = None
    max_running_requests: int | None = None
    mixed_chunk: bool = False
    context_tokens: int = 131_072
    metrics: bool = False
    whole_output: bool = True
    time_scale: float = 1.0
    kv_transfer: str = "profile"
    kv_bytes_per_token: int | None = None
    kv_buffers: int | None = None
    startup_s: float = 0.0
    fault: str | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> ServerOptions:
    """Read a command line; a wrong one ends the program with code 2, as argparse does."""
    known, rest = _parser().parse_known_args(list(arguments))
    values = vars(known)
    flags = {
        "model_path": known.model_path,
        "served_model_name": known.served_model_name,
        "host": known.host,
        "port": known.port,
        "tp_size": known.tp_size,
        "disaggregation_mode": known.disaggregation_mode,
        "disaggregation_bootstrap_port": known.disaggregation_bootstrap_port,
        "disaggregation_decode_enable_radix_cache": known.disaggregation_decode_enable_radix_cache,
        "enable_mixed_chunk": known.enable_mixed_chunk,
        "enable_metrics": known.enable_metrics,
        "skip_tokenizer_init": True,
        **_others(rest),
    }
    return ServerOptions(
        mode=Mode(known.disaggregation_mode),
        host=known.host,
        port=known.port,
        bootstrap_port=known.disaggregation_bootstrap_port,
        profile=known.profile,
        transport=_transport(known.transport, environment),
        decode_radix=known.disaggregation_decode_enable_radix_cache,
        kv_pool_tokens=known.max_total_tokens,
        page_tokens=known.page_size,
        chunk_tokens=known.chunked_prefill_size,
        max_running_requests=known.max_running_requests,
        mixed_chunk=known.enable_mixed_chunk,
        context_tokens=known.context_length,
        metrics=known.enable_metrics,
        whole_output=not (known.stream_output or known.incremental_streaming_output),
        flags=flags,
        **{
            name: values[name]
            for name in ("time_scale", "kv_transfer", "kv_bytes_per_token", "kv_buffers", "startup_s", "fault")
        },
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ppdsim stand-in", allow_abbrev=False)
    engine = parser.add_argument_group("SGLang's")
    engine.add_argument("--model-path", "--model")
    engine.add_argument("--served-model-name")
    engine.add_argument("--host", default="127.0.0.1")
    engine.add_argument("--port", type=int, default=30_000)
    engine.add_argument("--tp-size", "--tp", "--tensor-parallel-size", type=int, default=1)
    engine.add_argument("--disaggregation-mode", choices=[mode.value for mode in Mode], default=Mode.NULL.value)
    engine.add_argument("--disaggregation-bootstrap-port", type=int, default=8998)
    engine.add_argument("--disaggregation-decode-enable-radix-cache", action="store_true")
    engine.add_argument("--max-total-tokens", type=int)
    engine.add_argument("--page-size", type=int)
    engine.add_argument("--chunked-prefill-size", type=int)
    engine.add_argument("--max-running-requests", type=int)
    engine.add_argument("--enable-mixed-chunk", action="store_true")
    engine.add_argument("--context-length", type=int, default=131_072)
    engine.add_argument("--enable-metrics", action="store_true")
    engine.add_argument("--stream-output", action="store_true")
    engine.add_argument("--incremental-streaming-output", action="store_true")
    engine.add_argument("--skip-tokenizer-init", action="store_true")
    own = parser.add_argument_group("the stand-in's")
    own.add_argument("--profile", default=DEFAULT_PROFILE, help="where its times come from")
    own.add_argument("--time-scale", type=float, default=1.0, help="real seconds for one of the profile's")
    own.add_argument("--transport", choices=["auto", "nvlink", "tcp", "rdma"], default="auto")
    own.add_argument("--kv-transfer", choices=KV_TRANSFERS, default="profile")
    own.add_argument("--kv-bytes-per-token", type=int, help="bytes that mooncake carries for a token")
    own.add_argument("--kv-buffers", type=int, help="buffers they are spread over")
    own.add_argument("--startup-s", type=float, default=0.0, help="seconds before it listens")
    own.add_argument("--fault", choices=[fault.value for fault in Fault])
    return parser


def _transport(name: str, environment: Mapping[str, str]) -> Transport:
    """Return the transport; ``auto`` asks the environment, as mooncake does."""
    if name != "auto":
        return Transport(name)
    in_node = environment.get("MC_INTRANODE_NVLINK", "").lower() in ("1", "true")
    return Transport.NVLINK if in_node and not environment.get("MC_FORCE_TCP") else Transport.TCP


def _others(rest: Sequence[str]) -> dict[str, Any]:
    """Return flags that nothing here understands, as ``--name value`` or ``--name`` alone."""
    found: dict[str, Any] = {}
    name = None
    for word in rest:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            name = name.replace("-", "_")
            found[name] = value or True
        elif name is not None:
            found[name] = int(word) if word.lstrip("-").isdigit() else word
    return found
