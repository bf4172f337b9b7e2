"""Converts a recorded P/D grid (JSON lines of the first live runs) into the measurement format.

The source has one JSON object a line, kinds `prefill`, `decode` and `interfere`. Server timestamps become durations
after the request was received, because absolute clocks of different processes must not be mixed; on P/D rows
``prefill_finished_time`` comes from another machine's clock and is dropped (docs/explanation/model.md, "Reading the
rows"). Streams are longer than their prompt by what they had generated: 32 tokens on average in a decode window of
fewer than 16 streams, 64 from 16 on, about 200 in an interference window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppdsim import measurements
from ppdsim.engines.records.converted import Converted
from ppdsim.engines.records.deployment import Deployment
from ppdsim.engines.records.source import Source
from ppdsim.errors import MeasurementError, nearest
from ppdsim.types import Arm, Transport

ARMS: Mapping[str, tuple[Arm, Transport]] = {
    "U": (Arm.APPEND_D, Transport.NONE),
    "PDfull_nvlink": (Arm.P_FULL, Transport.NVLINK),
    "PDfull_tcp": (Arm.P_FULL, Transport.TCP),
    "PDdelta_tcp": (Arm.P_DELTA, Transport.TCP),
}
GENERATED_TOKENS_SMALL_BATCH = 32.0
"""Tokens that a stream had generated on average in a decode window with fewer than 16 streams [tokens]."""
GENERATED_TOKENS_LARGE_BATCH = 64.0
"""The same from 16 streams on [tokens]; source: the README of the grid."""
GENERATED_TOKENS_INTERFERENCE = 200.0
"""The same in an interference window [tokens]; source: the README of the grid."""


def convert(sources: Sequence[Source], deployment: Deployment) -> Converted:
    """Return every record as a row of the measurement schema; repeats of a cell are counted.

    Raises
    ------
    MeasurementError
        If the kind, the arm or a field of a record is unknown or missing, or the user names an arm.
    """
    if deployment.arm is not None or deployment.transport is not None:
        raise MeasurementError(f"{sources[0].path}: a recorded grid names its arms, leave out --arm and --transport")
    seen: dict[tuple[Any, ...], int] = {}
    rows: list[dict[str, Any]] = []
    for source in sources:
        for where, record in source.json_lines():
            cell = tuple(str(record.get(key)) for key in ("kind", "arm", "L", "m", "B"))
            repeat = seen.get(cell, 0)
            seen[cell] = repeat + 1
            row = _row(record, repeat, where=where)
            measurements.parse_row(row, where=where)
            rows.append(row)
    return Converted(rows=tuple(rows))


def _row(record: Mapping[str, Any], repeat: int, *, where: str) -> dict[str, Any]:
    converters = {"prefill": _prefill, "decode": _decode, "interfere": _interference}
    kind = str(record.get("kind"))
    if kind not in converters:
        raise MeasurementError(
            f"{where}: kind={record.get('kind')!r} is not one of {', '.join(converters)}{nearest(kind, converters)}"
        )
    if str(record.get("arm")) not in ARMS:
        raise MeasurementError(f"{where}: arm={record.get('arm')!r} is unknown{nearest(str(record.get('arm')), ARMS)}")
    try:
        row = converters[kind](record)
    except KeyError as error:
        raise MeasurementError(f"{where}: a {kind} record lacks the field {error.args[0]!r}") from None
    except TypeError:
        raise MeasurementError(f"{where}: a {kind} record has a field of the wrong type") from None
    return {**row, "repeat": repeat} if kind == "prefill" else row


def _finish(record: Mapping[str, Any]) -> str:
    return "length" if record["ok"] else "abort"


def _prefill(record: Mapping[str, Any]) -> dict[str, Any]:
    arm, transport = ARMS[record["arm"]]
    server = record["srv"]
    received = server["request_received_ts"]
    one_machine = arm is Arm.APPEND_D
    return {
        "kind": "prefill",
        "arm": arm.value,
        "transport": transport.value,
        "cached_tokens": record["L"],
        "new_tokens": record["m"],
        "prefill_cached_tokens": None if one_machine else record["L"],
        "found_cached_tokens": record["cached"],
        "elapsed_s": record["t"],
        "ttft_s": record["ttft"],
        "itl_s": record["itl"],
        "output_tokens": server["completion_tokens"],
        "finish_reason": _finish(record),
        "retractions": server["num_retractions"],
        "server_received_unix_s": received,
        "server_dispatched_s": server["api_server_dispatch_finish_ts"] - received,
        "server_forward_entry_s": server["forward_entry_time"] - received,
        "server_prefill_finished_s": server["prefill_finished_time"] - received if one_machine else None,
        "server_first_response_s": server["response_sent_to_client_ts"] - received,
        "server_finished_s": server["request_finished_ts"] - received,
        "server_queue_s": server["queue_time"],
        "server_e2e_s": server["e2e_latency"],
        "server_decode_tokens_per_s": server["decode_throughput"],
    }


def _decode(record: Mapping[str, Any]) -> dict[str, Any]:
    batch = record["B"]
    return {
        "kind": "decode",
        "batch": batch,
        "prompt_tokens": record["ctx"],
        "generated_tokens": GENERATED_TOKENS_SMALL_BATCH if batch < 16 else GENERATED_TOKENS_LARGE_BATCH,
        "gaps": record["n"],
        "elapsed_s": record["t"],
        "itl_median_s": record["itl_med"],
        "itl_mean_s": record["itl_mean"],
        "window_s": record["window"],
        "finish_reason": _finish(record),
    }


def _interference(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": "interference",
        "batch": record["B"],
        "prompt_tokens": record["ctx"],
        "generated_tokens": GENERATED_TOKENS_INTERFERENCE,
        "cached_tokens": record["L"],
        "new_tokens": record["m"],
        "found_cached_tokens": record["cached"],
        "append_ttft_s": record["ttft"],
        "stall_gap_s": record["stall_max"],
        "window_sum_s": record["win_sum"],
        "window_gaps": record["win_n"],
        "itl_base_s": record["itl_base"],
        "all_running": record["all_running"],
        "elapsed_s": record["t"],
        "finish_reason": _finish(record),
    }
