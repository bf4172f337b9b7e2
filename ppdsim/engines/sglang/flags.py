"""The flags of SGLang 0.5.17 that the simulator follows, what the engine does without them, and what they change.

Flags of ``sglang.launch_server`` with underscores, and the environment variables
``SGLANG_DISAGG_PREFILL_EARLY_SEND_CACHED_PREFIX``, ``SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT`` and
``SGLANG_DISAGGREGATION_WAITING_TIMEOUT``. Source of the defaults: server_args.py, environ.py.

Not modelled: the flags of :mod:`ppdsim.engines.sglang.server_flags` that are not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ppdsim.engine_record import ChunkRule, EngineRecord
from ppdsim.engines.flags import Flag, FlagValue, seconds
from ppdsim.errors import MeasurementError
from ppdsim.limits import NUMBER

if TYPE_CHECKING:
    from ppdsim.turn import TurnModel

RADIX = "disaggregation_decode_enable_radix_cache"
"""D keeps prefixes, and P sends what D lacks."""
EARLY_SEND = "disagg_prefill_early_send_cached_prefix"
"""What P has cached of a prompt leaves before the forward; on by default."""
OVERLAP_OFF = "disable_overlap_schedule"
"""The host looks at the results of a step before it launches the next one."""
MIXED = "enable_mixed_chunk"
"""Prefill forwards also have the tokens of decoding streams (mixed steps)."""
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
        Flag(name=MIXED, kind=bool, simulated_only=True),
        Flag(name="disaggregation_decode_extra_slots", kind=int, least=0, simulated_only=True),
        Flag(name=OVERLAP_OFF, kind=bool),
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


def ruled(record: EngineRecord, flags: Mapping[str, FlagValue]) -> EngineRecord:
    """Return the rules of a server that has these flags."""
    if OVERLAP_OFF in flags:
        record = replace(record, overlap_schedule=not flags[OVERLAP_OFF])
    if MIXED in flags:
        rule = ChunkRule.MIXED_STEPS if flags[MIXED] else ChunkRule.SEPARATE_FORWARDS
        record = replace(record, chunk_rule=rule)
    return record


def told(server_flags: Iterable[str]) -> dict[str, FlagValue]:
    """Return the flags that decide a server's rules, from ``name=value`` or ``--name value`` as manifests have them.

    Raises
    ------
    MeasurementError
        If servers of the run differ in one.

    Examples
    --------
    >>> told(["disable_overlap_schedule=True", "tp_size=2", ""]), told(["--enable-mixed-chunk"])
    ({'disable_overlap_schedule': True}, {'enable_mixed_chunk': True})
    """
    found: dict[str, FlagValue] = {}
    for word in server_flags:
        name, *rest = word.replace("=", " ").split() or [""]
        name, on = name.removeprefix("--").replace("-", "_"), rest != ["False"]
        if name in (OVERLAP_OFF, MIXED) and found.setdefault(name, on) is not on:
            raise MeasurementError(
                f"server flags: {name} is on in some servers of the run and off in others; expected one, because a"
                " profile has one engine record"
            )
    return found


def as_run(model: TurnModel, flags: Mapping[str, FlagValue]) -> TurnModel:
    """Return the costs and rules of a machine whose server has these flags."""
    return replace(
        model if flags.get(EARLY_SEND, True) else model.without_early_send(),
        engine=ruled(model.engine, flags),
        chunked_prefill_size=int(flags.get("chunked_prefill_size", model.chunked_prefill_size)),
        page_size_tokens=int(flags.get("page_size", model.page_size_tokens)),
    )
