"""What SGLang answers, checked where it enters: types, ranges and sizes of /server_info and of a stream's events.

A server that is another one, older, newer or broken may answer anything. Nothing of an answer is used before it has
passed a model of this module; what does not pass is a `RequestFailed` of kind ``malformed`` that names the field, what
was given and what was expected. Everything that is read has a bound in bytes (`ppdsim.limits`).

Source: SGLang 0.5.17 entrypoints/http_server.py, managers/tokenizer_manager.py. Not modelled: fields that ppdsim does
not use; they may hold anything that is JSON.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ppdsim.engines.client import EngineInfo, Failure, Generation, RequestFailed, Stream
from ppdsim.engines.sglang.server_flags import KEPT
from ppdsim.engines.sglang.stamps import stamps
from ppdsim.limits import SERVER_TOKENS

SHOWN_CHARACTERS = 200
"""How much of what a server said stands in a message [characters]."""
RESERVED_TOKENS = 6
"""What ``max_req_input_len`` lacks of the longest request [tokens]; SGLang 0.5.17 managers/tp_worker.py."""

Count = Annotated[int, Field(ge=0, le=SERVER_TOKENS.value)]
Size = Annotated[int, Field(ge=1, le=SERVER_TOKENS.value)]
Seconds = Annotated[float, Field(ge=-1e12, le=1e12)]
"""A time or a rate: a finite number; what it means is checked against the client's clock."""
Word = Annotated[str, Field(max_length=4096)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class ServerInfo(_Answer):
    """/server_info, as far as it is used."""

    version: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9.+_-]+$")] | None = None
    model_path: Word | None = None
    max_total_num_tokens: Size
    page_size: Size
    chunked_prefill_size: Size
    max_running_requests: Size | None = None
    max_req_input_len: Size | None = None
    context_length: Size | None = None
    tp_size: Annotated[int, Field(ge=1, le=4096)] = 1

    def engine(self, told: dict[str, Any]) -> EngineInfo:
        """Return what the server is; `told` is the whole answer, of which the flags are kept that matter."""
        longest = None if self.max_req_input_len is None else self.max_req_input_len + RESERVED_TOKENS
        return EngineInfo(
            name="sglang",
            version=self.version or "unknown",
            model=_folder_name(self.model_path),
            kv_pool_tokens=self.max_total_num_tokens,
            page_size_tokens=self.page_size,
            chunked_prefill_size=self.chunked_prefill_size,
            max_running_requests=self.max_running_requests,
            # ``context_length`` is null where no flag sets it.
            context_tokens=self.context_length if longest is None else longest,
            flags=KEPT.flags(told),
            left_out=KEPT.left_out(
                {name: value for name, value in told.items() if name not in type(self).model_fields}
            ),
        )


class FinishReason(_Answer):
    """How a request ended."""

    type: Annotated[str, Field(max_length=64)]
    message: Any = None


class Meta(_Answer):
    """``meta_info`` of an event: counts so far, and the engine's own times where it reports them."""

    prompt_tokens: Count
    completion_tokens: Count
    cached_tokens: Count
    finish_reason: FinishReason | None = None
    num_retractions: Count | None = None
    request_received_ts: Seconds | None = None
    api_server_dispatch_finish_ts: Seconds | None = None
    forward_entry_time: Seconds | None = None
    prefill_finished_time: Seconds | None = None
    response_sent_to_client_ts: Seconds | None = None
    request_finished_ts: Seconds | None = None
    queue_time: Seconds | None = None
    e2e_latency: Seconds | None = None
    decode_throughput: Seconds | None = None


class Event(_Answer):
    """One server-sent event of a stream; `output_ids` is the whole answer so far, or only what is new of it."""

    meta_info: Meta
    output_ids: tuple[Annotated[int, Field(ge=0, le=2**31)], ...] | None = None


class _Refusal(_Answer):
    """An event that says why there will be no answer."""

    error: Any


def read_info(content: bytes, where: str) -> EngineInfo:
    """Read /server_info.

    Raises
    ------
    RequestFailed
        If it is not what SGLang says; the message names `where` and the field.
    """
    try:
        told = TypeAdapter(dict[str, Any]).validate_json(content)
        # From the text and not from `told`: strict means another thing there, lists that are tuples for one.
        return ServerInfo.model_validate_json(content).engine(told)
    except ValidationError as error:
        raise RequestFailed(Failure.MALFORMED, f"{where}: {_explain(error, content)}") from None


def read_event(content: bytes) -> Event:
    """Read one event of a stream.

    Raises
    ------
    RequestFailed
        If it is malformed, or says that the request was refused.
    """
    try:
        return Event.model_validate_json(content)
    except ValidationError as error:
        refusal = _refusal(content)
        if refusal is not None:
            raise RequestFailed(Failure.REFUSED, shown(refusal)) from None
        raise RequestFailed(Failure.MALFORMED, f"an event of the stream: {_explain(error, content)}") from None


def _refusal(content: bytes) -> str | None:
    try:
        found = _Refusal.model_validate_json(content).error
    except ValidationError:
        return None
    return str(found.get("message", found) if isinstance(found, dict) else found)


class Progress:
    """What the events of one stream add up to, each checked against those before and against what was asked.

    Parameters
    ----------
    stream : Stream
        Told when how many tokens had arrived.
    prompt_tokens, wanted_tokens : int
        What was sent and asked for [tokens].
    """

    def __init__(self, stream: Stream, prompt_tokens: int, wanted_tokens: int) -> None:
        self._stream = stream
        self._prompt_tokens = prompt_tokens
        self._wanted_tokens = wanted_tokens
        self._meta: Meta | None = None
        self._ids: list[int] = []

    def add(self, event: Event, arrived_s: float) -> None:
        """Take the next event.

        Raises
        ------
        RequestFailed
            If its counts cannot be true.
        """
        meta, before = event.meta_info, len(self._stream.token_s)
        if meta.prompt_tokens != self._prompt_tokens:
            raise RequestFailed(
                Failure.REFUSED,
                f"the engine counted a prompt of {meta.prompt_tokens} tokens, {self._prompt_tokens} were sent",
            )
        if not before <= meta.completion_tokens <= self._wanted_tokens:
            raise RequestFailed(
                Failure.MALFORMED,
                f"meta_info.completion_tokens = {meta.completion_tokens} after {before}, expected up to "
                f"{self._wanted_tokens}",
            )
        self._meta = meta
        self._stream.arrived(arrived_s, meta.completion_tokens)
        part = event.output_ids or ()
        self._ids = list(part) if len(part) == meta.completion_tokens else [*self._ids, *part]

    def generation(self) -> Generation:
        """Return the finished request, or say how it ended; a fast first byte proves nothing.

        Raises
        ------
        RequestFailed
            If it was aborted, or has not the tokens that were asked for.
        """
        got, wanted, meta = len(self._stream.token_s), self._wanted_tokens, self._meta
        reason = None if meta is None else meta.finish_reason
        if reason is not None and reason.type == "abort":
            text = shown(str(reason.message or ""))
            raise RequestFailed(Failure.ABORTED, f"the engine aborted it after {got} tokens: {text}")
        if meta is None or reason is None or reason.type != "length" or got != wanted:
            said = None if reason is None else reason.type
            raise RequestFailed(
                Failure.DISCONNECTED, f"{got} of {wanted} tokens, finish reason '{said}', expected 'length'"
            )
        return Generation(
            sent_s=self._stream.sent_s,
            token_s=tuple(self._stream.token_s),
            finish_reason=reason.type,
            prompt_tokens=meta.prompt_tokens,
            cached_tokens=meta.cached_tokens,
            token_ids=tuple(self._ids),
            retractions=meta.num_retractions or 0,
            server=stamps(dict(meta)),
        )


def shown(text: str) -> str:
    """Return the beginning of what a server said, in one line."""
    return " ".join(text[: 4 * SHOWN_CHARACTERS].split())[:SHOWN_CHARACTERS]


def _folder_name(path: str | None) -> str:
    return (path or "unknown").rstrip("/").rsplit("/", 1)[-1][:256] or "unknown"


def _explain(error: ValidationError, content: bytes) -> str:
    """Put the first error in words: field, what was given, what was expected."""
    first = error.errors(include_url=False)[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "json_invalid":
        begin = shown(content[:SHOWN_CHARACTERS].decode(errors="replace"))[:60]
        return f"not JSON ({first['msg'].removeprefix('Invalid JSON: ')}): '{begin}'"
    if first["type"] == "missing":
        return f"lacks '{name}'"
    given = shown(repr(first["input"]))[:60]
    return f"{name + ' = ' if name else ''}{given}, expected: {first['msg'].removeprefix('Input should be ')}"
