"""SGLang's request time stats (``--enable-request-time-stats-logging``): one server log line a finished request.

The line is written by ``Req.log_time_stats`` and ``SchedulerReqTimeStats.convert_to_duration`` of SGLang 0.5.17; those
of P and D carry the same bootstrap_room and become one row. Durations are the scheduler's, in ms with two digits.

Not known: when the client sent the request and when it saw a token (no TTFT, TPOT, E2E), why the request ended, and
which conversation it belongs to. ``transfer_speed`` counts 2^30 bytes a second as GB/s and ``transfer_total`` 2^20
bytes as MB, as the engine does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ppdsim.engines.records.converted import Converted, converted_loads
from ppdsim.engines.records.deployment import HANDED_OFF, UNIFIED, Deployment
from ppdsim.engines.records.source import Source
from ppdsim.errors import MeasurementError
from ppdsim.measurements import LoadRow, ServerTimes

MARK = "ReqTimeStats("
HEALTH_CHECK = "HEALTH_CHECK"
"""Part of the request ids of the server's own health checks (sglang.srt.constants.HEALTH_CHECK_RID_PREFIX)."""
OWN_ROOM = 0
"""Bootstrap room of the requests that a P or D server sends to itself (http_server.py, warm-up and health)."""
BYTES_PER_MB = 2.0**20
BYTES_PER_GB = 2.0**30

_LINE = re.compile(
    r"ReqTimeStats\(rid=(?P<rid>.+?)(?:, bootstrap_room=(?P<room>\d{1,20}))?, input_len=(?P<input>\d{1,12}), "
    r"cached_input_len=(?P<cached>\d{1,12}), output_len=(?P<output>\d{1,12})(?:, attempts=\d+)?, "
    r"type=(?P<type>unified|prefill|decode)\): (?P<times>.+)$",
    re.ASCII,
)
_DURATION = re.compile(r"(-?\d{1,12}\.\d\d)ms", re.ASCII)
_VALUES = {
    "bootstrap_duration": _DURATION,
    "alloc_wait_duration": _DURATION,
    "transfer_duration": _DURATION,
    "queue_duration": _DURATION,
    "forward_duration": _DURATION,
    "entry_time": re.compile(r"(-?\d{1,12}\.\d{3})", re.ASCII),
    "transfer_speed": re.compile(r"(\d{1,12}\.\d\d) GB/s", re.ASCII),
    "transfer_total": re.compile(r"(\d{1,12}\.\d\d) MB", re.ASCII),
}
"""What is read of a line, as the engine formats it: all digits, so that a line that was cut off is not misread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    where: str
    role: str
    room: int | None
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    times: ServerTimes


def convert(sources: Sequence[Source], deployment: Deployment) -> Converted:
    """Return the requests of server logs as load rows, in the order in which they came to the answering server.

    Raises
    ------
    MeasurementError
        If a ReqTimeStats line is not of the expected form, a room comes twice from one side, a request has no prompt,
        or the arm is not known.
    """
    of: dict[str, list[_Record]] = {"unified": [], "prefill": [], "decode": []}
    own = 0
    for source in sources:
        for record in _records(source):
            if record is None:
                own += 1
            else:
                of[record.role].append(record)
    prefills = _by_room(of["prefill"])
    decodes = _by_room(of["decode"])
    if prefills and not decodes and not of["unified"]:
        raise MeasurementError(
            f"{sources[0].path}: lines of type=prefill only, which do not say how long the answer was: "
            "give the log of the decode server as well"
        )
    run = sources[0].name
    rows = [(record.where, _row(run, record, None, deployment)) for record in of["unified"]]
    rows += [(record.where, _row(run, record, prefills.get(room), deployment)) for room, record in decodes.items()]
    rows.sort(key=lambda pair: (pair[1].server and pair[1].server.entered_unix_s) or 0.0)
    alone = len(prefills.keys() - decodes.keys())
    notes = []
    if own:
        notes.append(f"{own} requests that the servers sent to themselves (health, warm-up) were left out")
    if alone:
        notes.append(f"{alone} requests of the prefill server without a line of the decode server were left out")
    return converted_loads(rows, notes)


def _records(source: Source) -> Iterator[_Record | None]:
    """Yield the requests of one log, and None for each of the server's own."""
    for number, line in source.filled():
        if MARK not in line:
            continue
        where = source.where(number)
        found = _LINE.search(line.rstrip())
        if found is None:
            raise MeasurementError(
                f"{where}: a ReqTimeStats line that is not of SGLang 0.5.17's form: expected rid, input_len, "
                f"cached_input_len, output_len, type=unified|prefill|decode, then times; got {_shown(line)}"
            )
        room = None if found["room"] is None else int(found["room"])
        if HEALTH_CHECK in found["rid"] or room == OWN_ROOM:
            yield None
            continue
        if found["type"] != "unified" and room is None:
            raise MeasurementError(f"{where}: a line of type={found['type']} without bootstrap_room cannot be joined")
        yield _Record(
            where=where,
            role=found["type"],
            room=room,
            prompt_tokens=int(found["input"]),
            cached_tokens=int(found["cached"]),
            output_tokens=int(found["output"]),
            times=_times(found, where),
        )


def _times(found: re.Match[str], where: str) -> ServerTimes:
    values: dict[str, str] = {}
    for part in found["times"].split(", "):
        name, equals, text = part.partition("=")
        value = _VALUES[name].fullmatch(text) if name in _VALUES else None
        if not equals or (name in _VALUES and value is None):
            raise MeasurementError(f"{where}: {_shown(part)} is not how SGLang writes a time: was the line cut off?")
        if value is not None:
            values[name] = value[1]
    for name in ("queue_duration", "forward_duration", "entry_time"):
        if name not in values:
            raise MeasurementError(f"{where}: no {name} in the line: was it cut off?")
    spent = {name: _seconds(values, f"{name}_duration") for name in ("bootstrap", "alloc_wait", "transfer")}
    queue_s, forward_s = _seconds(values, "queue_duration"), _seconds(values, "forward_duration")
    return ServerTimes(
        request_id=found["rid"],
        cached_tokens=int(found["cached"]),
        entered_unix_s=float(values["entry_time"]),
        bootstrap_s=spent["bootstrap"],
        alloc_wait_s=spent["alloc_wait"],
        transfer_s=spent["transfer"],
        queue_s=queue_s,
        forward_s=forward_s,
        sent_bytes=_amount(values, "transfer_total", BYTES_PER_MB),
        sent_bytes_per_s=_amount(values, "transfer_speed", BYTES_PER_GB),
    )


def _seconds(values: Mapping[str, str], name: str) -> float | None:
    # The decimal exponent keeps 25.13 ms at 0.02513 s, which a division does not.
    return float(f"{values[name]}e-3") if name in values else None


def _amount(values: Mapping[str, str], name: str, scale: float) -> float | None:
    """Return an amount in bytes; the engine writes 0.00 where it did not measure it."""
    amount = float(values.get(name, "0"))
    return amount * scale if amount else None


def _by_room(records: Sequence[_Record]) -> dict[int, _Record]:
    rooms: dict[int, _Record] = {}
    for record in records:
        if record.room is None:
            continue
        if record.room in rooms:
            raise MeasurementError(
                f"{record.where}: bootstrap_room={record.room} is a second line of type={record.role}; "
                f"the first is {rooms[record.room].where}"
            )
        rooms[record.room] = record
    return rooms


def _row(run: str, record: _Record, prefill: _Record | None, deployment: Deployment) -> LoadRow:
    if prefill is not None and prefill.prompt_tokens != record.prompt_tokens:
        raise MeasurementError(
            f"{record.where}: input_len={record.prompt_tokens}, but {prefill.prompt_tokens} on the prefill server "
            f"({prefill.where}) in the same bootstrap_room"
        )
    arm, transport = deployment.resolve(UNIFIED if record.role == "unified" else HANDED_OFF, where=record.where)
    return LoadRow(
        purpose="validation",
        run=run,
        arm=arm,
        transport=transport,
        prompt_tokens=record.prompt_tokens,
        cached_tokens=record.cached_tokens,
        new_tokens=record.prompt_tokens - record.cached_tokens,
        output_tokens=record.output_tokens,
        server=record.times,
        prefill_server=None if prefill is None else prefill.times,
    )


def _shown(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 80 else text[:77] + "...")
