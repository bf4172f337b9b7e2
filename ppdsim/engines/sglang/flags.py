"""The flags of SGLang 0.5.17 that the simulator follows, what the engine does without them, and what they change.

Flags of ``sglang.launch_server`` with underscores, and the environment variables
``SGLANG_DISAGG_PREFILL_EARLY_SEND_CACHED_PREFIX``, ``SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT`` and
``SGLANG_DISAGGREGATION_WAITING_TIMEOUT``. Source of the defaults: server_args.py, environ.py.

Not modelled: the flags of :mod:`ppdsim.engines.sglang.server_flags` that are not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ppdsim.engine_record import ChunkRule
from ppdsim.engines.flags import Flag, FlagValue, seconds
from ppdsim.limits import NUMBER

if TYPE_CHECKING:
    from ppdsim.turn import TurnModel

RADIX = "disaggregation_decode_enable_radix_cache"
"""D keeps prefixes, and P sends what D lacks."""
EARLY_SEND = "disagg_prefill_early_send_cached_prefix"
"""What P has cached of a prompt leaves before the forward; on by default."""
FLAGS: Mapping[str, Flag] = {
    flag.name: flag
    for flag in (
        Flag(name=RADIX, kind=bool),
        Flag(name=EARLY_SEND, kind=bool),
        Flag(name="page_size", kind=int, most=2**20),
        Flag(name="chunked_prefill_size", kind=int),
        Flag(name="max_prefill_tokens", kind=int, simulated_only=True),
        Flag(name="max_running_requests", kind=int, simulated_only=True),
        Flag(name="num_reserved_decode_tokens", kind=int, least=0, simulated_only=True),
        Flag(name="schedule_conservativeness", kind=float, least=0, most=NUMBER.value, simulated_only=True),
        Flag(name="enable_mixed_chunk", kind=bool, simulated_only=True),
        Flag(name="disaggregation_decode_extra_slots", kind=int, least=0, simulated_only=True),
        Flag(name="disable_overlap_schedule", kind=bool),
        seconds("disaggregation_bootstrap_timeout_s"),
        seconds("disaggregation_waiting_timeout_s"),
    )
}
"""By name, in the order of docs/reference/scenario.md."""
DEFAULTS: Mapping[str, FlagValue] = {
    RADIX: False,
    "max_prefill_tokens": 16_384,
    "max_running_requests": 2_048,
    "num_reserved_decode_tokens": 512,
    "schedule_conservativeness": 1.0,
    "disaggregation_bootstrap_timeout_s": 300.0,
    "disaggregation_waiting_timeout_s": 300.0,
}
"""What a server does that is not told, where no profile says it: tokens, requests, tokens, 1, s, s."""
EXTRA_SLOTS_UP_TO = 32
"""Largest `max_running_requests` at which a decode server has extra slots by itself [requests]."""


def knobs(flags: Mapping[str, FlagValue]) -> dict[str, Any]:
    """Return every knob of a simulated fleet (:class:`~ppdsim.des.spec.ClusterSpec`) with these flags."""
    found: dict[str, Any] = {name: flags.get(name, default) for name, default in DEFAULTS.items()}
    running = found["max_running_requests"]
    slots = "disaggregation_decode_extra_slots"
    return {**found, slots: flags.get(slots, 2 * running if running <= EXTRA_SLOTS_UP_TO else 0)}


def as_run(model: TurnModel, flags: Mapping[str, FlagValue]) -> TurnModel:
    """Return the costs and rules of a machine whose server has these flags."""
    engine = model.engine
    if "disable_overlap_schedule" in flags:
        engine = replace(engine, overlap_schedule=not flags["disable_overlap_schedule"])
    if "enable_mixed_chunk" in flags:
        rule = ChunkRule.MIXED_STEPS if flags["enable_mixed_chunk"] else ChunkRule.SEPARATE_FORWARDS
        engine = replace(engine, chunk_rule=rule)
    return replace(
        model if flags.get(EARLY_SEND, True) else model.without_early_send(),
        engine=engine,
        chunked_prefill_size=int(flags.get("chunked_prefill_size", model.chunked_prefill_size)),
        page_size_tokens=int(flags.get("page_size", model.page_size_tokens)),
    )
