"""SGLang's ``--export-metrics-to-file``: one JSON line a finished request, its parameters and its meta_info.

The line is written by ``FileRequestMetricsExporter`` (sglang/srt/observability/request_metrics_exporter.py, 0.5.17).
P and D each write files of their own; a record of P ends with finish length 0, and joins that of D by bootstrap_room.

Not known: anything on the client's clock (no TTFT, TPOT, E2E of the client; the server's first response and end stand
in `server`) and the longest ITL. Timestamps need the server's ``--enable-metrics``. ``prefill_finished_time`` of a
hand-off is another machine's clock and is dropped. A conversation is known where the client gave session_id,
session_params or conversation_id; its turns are counted from the first one recorded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppdsim.engines.records.converted import Converted, Count, Seconds, converted_loads, malformed
from ppdsim.engines.records.deployment import HANDED_OFF, UNIFIED, Deployment
from ppdsim.engines.records.source import Source
from ppdsim.errors import MeasurementError
from ppdsim.measurements import LoadRow, ServerTimes

EXPECTED = "a record of SGLang's --export-metrics-to-file"
Rate = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Finish(_Lenient):
    """Why a request ended; P ends its own part with length 0."""

    type: str
    length: int | None = None


class SessionParameters(_Lenient):
    """The session of a request that continues another."""

    id: str | None = None


class RequestParameters(_Lenient):
    """What is read of the request's own parameters."""

    stream: bool = False
    bootstrap_room: int | None = None
    session_id: str | None = None
    session_params: SessionParameters | None = None
    conversation_id: str | None = None

    @property
    def conversation(self) -> str | None:
        """Return what names the conversation, if the client gave anything."""
        inner = self.session_params.id if self.session_params else None
        return self.session_id or inner or self.conversation_id


class ExportRecord(_Lenient):
    """One line. Timestamps are there with ``--enable-metrics``; an embedding has no completion_tokens."""

    request_parameters: str
    id: str
    finish_reason: Finish | None = None
    prompt_tokens: Count
    completion_tokens: Count | None = None
    cached_tokens: Count | None = None
    num_retractions: Count | None = None
    e2e_latency: Seconds | None = None
    request_received_ts: Seconds | None = None
    api_server_dispatch_finish_ts: Seconds | None = None
    forward_entry_time: Seconds | None = None
    prefill_finished_time: Seconds | None = None
    response_sent_to_client_ts: Seconds | None = None
    request_finished_ts: Seconds | None = None
    queue_time: Seconds | None = None
    decode_throughput: Rate | None = None


class _Request:
    """A record with its parameters and the place that an error names."""

    __slots__ = ("parameters", "record", "where")

    def __init__(self, record: ExportRecord, parameters: RequestParameters, where: str) -> None:
        self.record = record
        self.parameters = parameters
        self.where = where

    @property
    def is_of_prefill(self) -> bool:
        """Whether P wrote it."""
        finish = self.record.finish_reason
        return self.parameters.bootstrap_room is not None and finish is not None and finish.length == 0

    @property
    def received_s(self) -> float:
        """When the server had it [s]; 0 where it does not say."""
        return self.record.request_received_ts or 0.0


def convert(sources: Sequence[Source], deployment: Deployment) -> Converted:
    """Return the requests of exported files as load rows, in the order in which they came to the answering server.

    Raises
    ------
    MeasurementError
        If a line is not such a record, a room comes twice from one side, or the arm is not known.
    """
    requests = [_parsed(record, where) for source in sources for where, record in source.json_lines()]
    generated = [request for request in requests if request.record.completion_tokens is not None]
    answers = [request for request in generated if not request.is_of_prefill]
    prefills = _by_room([request for request in generated if request.is_of_prefill])
    rooms = _by_room(answers)
    if prefills and not answers:
        raise MeasurementError(
            f"{sources[0].path}: records of the prefill server only, which do not say how long the answer was: "
            "give the files of the decode server as well"
        )
    turns: dict[str, int] = {}
    rows = []
    for answer in sorted(answers, key=lambda answer: answer.received_s):
        conversation = answer.parameters.conversation
        if conversation is not None:
            turns[conversation] = turns.get(conversation, -1) + 1
        turn = None if conversation is None else turns[conversation]
        room = answer.parameters.bootstrap_room
        prefill = None if room is None else prefills.get(room)
        rows.append((answer.where, _row(sources[0].name, answer, prefill, turn, deployment)))
    notes = []
    if len(requests) > len(generated):
        notes.append(f"{len(requests) - len(generated)} records without completion_tokens (embeddings) were left out")
    if alone := len(prefills.keys() - rooms.keys()):
        notes.append(f"{alone} records of the prefill server without one of the decode server were left out")
    return converted_loads(rows, notes)


def _parsed(record: dict[str, Any], where: str) -> _Request:
    try:
        found = ExportRecord.model_validate(record)
    except ValidationError as error:
        raise malformed(error, where=where, expected=EXPECTED) from None
    try:
        parameters = RequestParameters.model_validate(json.loads(found.request_parameters))
    except ValidationError as error:
        raise malformed(error, where=f"{where}: request_parameters", expected=EXPECTED) from None
    except (ValueError, RecursionError):
        raise MeasurementError(f"{where}: 'request_parameters' is not JSON text; expected {EXPECTED}") from None
    return _Request(found, parameters, where)


def _by_room(requests: Sequence[_Request]) -> dict[int, _Request]:
    rooms: dict[int, _Request] = {}
    for request in requests:
        room = request.parameters.bootstrap_room
        if room is None:
            continue
        if room in rooms:
            raise MeasurementError(
                f"{request.where}: bootstrap_room={room} is a second record; the first is {rooms[room].where}"
            )
        rooms[room] = request
    return rooms


def _row(run: str, answer: _Request, prefill: _Request | None, turn: int | None, deployment: Deployment) -> LoadRow:
    record, parameters = answer.record, answer.parameters
    told = UNIFIED if parameters.bootstrap_room is None else HANDED_OFF
    arm, transport = deployment.resolve(told, where=answer.where)
    cached = record.cached_tokens
    return LoadRow(
        purpose="validation",
        run=run,
        arm=arm,
        transport=transport,
        conversation_id=parameters.conversation,
        turn=turn,
        prompt_tokens=record.prompt_tokens,
        cached_tokens=cached,
        new_tokens=None if cached is None else record.prompt_tokens - cached,
        output_tokens=record.completion_tokens or 0,
        finish_reason=record.finish_reason.type if record.finish_reason else None,
        retractions=record.num_retractions,
        server=_times(answer),
        prefill_server=None if prefill is None else _times(prefill),
    )


def _times(request: _Request) -> ServerTimes:
    record = request.record
    received = record.request_received_ts
    unified = request.parameters.bootstrap_room is None

    def after_s(timestamp: float | None) -> float | None:
        return None if timestamp is None or received is None else timestamp - received

    return ServerTimes(
        request_id=record.id,
        cached_tokens=record.cached_tokens,
        received_unix_s=received,
        queue_s=record.queue_time,
        dispatched_s=after_s(record.api_server_dispatch_finish_ts),
        forward_entry_s=after_s(record.forward_entry_time),
        prefill_finished_s=after_s(record.prefill_finished_time) if unified else None,
        # Without streaming the only response is the whole answer.
        first_response_s=after_s(record.response_sent_to_client_ts) if request.parameters.stream else None,
        finished_s=after_s(record.request_finished_ts),
        e2e_s=record.e2e_latency,
        decode_tokens_per_s=record.decode_throughput,
    )
