"""The rows of raw measurements: one kind a class, told apart by ``kind``. Times in seconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from ppdsim.errors import MeasurementError, nearest
from ppdsim.strict import Strict, explain
from ppdsim.types import Arm, Transport


class MeasuredRow(Strict):
    """What every row says of itself: which planned cell it belongs to, when, and what it may be used for.

    `block` counts stretches of time within which the machine is taken to be the same; rows without one were not
    interleaved. An `outlier` was over 1.25 times its cell's median when it was measured, or when its cell was measured
    again (`OutlierMark`): kept, never fitted. Only rows of purpose ``fit`` are fitted; ``validation`` cells are held
    out, a ``probe`` is repeated all along to see drift.
    """

    purpose: Literal["fit", "validation", "probe"] = "fit"
    cell: str = ""
    block: int | None = None
    outlier: bool = False


class PrefillRow(MeasuredRow):
    """One turn at idle machines: cached_tokens on D (L), new_tokens (m), what P had cached, and the client's TTFT."""

    kind: Literal["prefill"] = "prefill"
    arm: Arm
    transport: Transport
    cached_tokens: int
    new_tokens: int
    prefill_cached_tokens: int | None = None
    found_cached_tokens: int
    repeat: int
    elapsed_s: float
    ttft_s: float
    itl_s: float | None = None
    output_tokens: int
    finish_reason: str
    retractions: int = 0
    server_received_unix_s: float | None = None
    server_dispatched_s: float | None = None
    server_forward_entry_s: float | None = None
    server_prefill_finished_s: float | None = None
    server_first_response_s: float | None = None
    server_finished_s: float | None = None
    server_queue_s: float | None = None
    server_e2e_s: float | None = None
    server_decode_tokens_per_s: float | None = None


class DecodeRow(MeasuredRow):
    """`batch` streams decoding together; `generated_tokens` is how far they had got on average in the window."""

    kind: Literal["decode"] = "decode"
    batch: int
    prompt_tokens: int
    generated_tokens: float
    gaps: int
    elapsed_s: float
    itl_median_s: float
    itl_mean_s: float
    window_s: float
    finish_reason: str


class InterferenceRow(MeasuredRow):
    """Turns injected one after another into `batch` decoding streams; one tuple entry a turn.

    The arm is what was injected: an append on the node that decodes, or a hand-off arriving there.
    """

    kind: Literal["interference"] = "interference"
    arm: Arm = Arm.APPEND_D
    transport: Transport = Transport.NONE
    batch: int
    prompt_tokens: int
    generated_tokens: float
    cached_tokens: int
    new_tokens: int
    found_cached_tokens: tuple[int, ...]
    append_ttft_s: tuple[float, ...]
    stall_gap_s: tuple[float, ...]
    window_sum_s: tuple[float, ...]
    window_gaps: tuple[float, ...]
    itl_base_s: float
    all_running: bool
    elapsed_s: float
    finish_reason: str


class ServerTimes(Strict):
    """What one server recorded of one request, on its own clock; a field that its record lacks is None.

    `received` is when its HTTP server had the request, `entered` when its scheduler queued it first. On D,
    `transfer_s` runs from the reservation of KV to its arrival and so holds P's work; on P, `forward_s` runs until the
    KV is sent. `e2e_s` ends with the last token.
    """

    request_id: str | None = None
    cached_tokens: int | None = None
    received_unix_s: float | None = None
    entered_unix_s: float | None = None
    bootstrap_s: float | None = None
    alloc_wait_s: float | None = None
    transfer_s: float | None = None
    queue_s: float | None = None
    forward_s: float | None = None
    dispatched_s: float | None = None
    forward_entry_s: float | None = None
    prefill_finished_s: float | None = None
    first_response_s: float | None = None
    finished_s: float | None = None
    e2e_s: float | None = None
    decode_tokens_per_s: float | None = None
    sent_bytes: float | None = None
    sent_bytes_per_s: float | None = None


class LoadRow(MeasuredRow):
    """One turn of a load, as the client saw it; what the record of an imported run does not know is None.

    `server` is the server that answered (U, or D of a hand-off), `prefill_server` is P. Rows without `prompt_tokens`
    have both parts of it.
    """

    kind: Literal["load"] = "load"
    run: str
    arm: Arm
    transport: Transport
    conversation_id: str | None = None
    turn: int | None = None
    sent_s: float | None = None
    prompt_tokens: int
    cached_tokens: int | None = None
    new_tokens: int | None = None
    output_tokens: int
    ttft_s: float | None = None
    tpot_s: float | None = None
    itl_max_s: float | None = None
    e2e_s: float | None = None
    finish_reason: str | None = None
    retractions: int | None = None
    server: ServerTimes | None = None
    prefill_server: ServerTimes | None = None

    @model_validator(mode="before")
    @classmethod
    def _sum_of_the_parts(cls, record: Any) -> Any:
        if isinstance(record, dict) and "prompt_tokens" not in record:
            cached, new = record.get("cached_tokens"), record.get("new_tokens")
            if isinstance(cached, int) and isinstance(new, int):
                return {**record, "prompt_tokens": cached + new}
        return record


class PlayedTurn(LoadRow):
    """A turn that is known well enough to play its conversation again: whose, when, what, and when it was answered."""

    conversation_id: str
    turn: int
    sent_s: float
    cached_tokens: int
    new_tokens: int
    e2e_s: float


def played(row: LoadRow) -> PlayedTurn | None:
    """Return the row as a turn that can be played again, or None if its record does not know enough for that."""
    needed = (row.conversation_id, row.turn, row.sent_s, row.cached_tokens, row.new_tokens, row.e2e_s)
    return None if None in needed else PlayedTurn.model_validate(row.model_dump())


class TransferRow(MeasuredRow):
    """`size_bytes` in `blocks` pieces over the link alone, from and to host or GPU memory."""

    kind: Literal["transfer"] = "transfer"
    transport: Transport
    memory: Literal["host", "gpu"] = "host"
    size_bytes: int
    blocks: int
    repeat: int
    elapsed_s: float
    transfer_s: float


class OutlierMark(Strict):
    """What a later repeat showed of an earlier row: the `nth` of its cell, counted from 0 in the file, is an outlier.

    The file is only appended to, and that a cell's first value was an accident shows when the second is there.
    `value_s` was the row's, `median_s` that of the cell's other values by then.
    """

    kind: Literal["outlier"] = "outlier"
    cell: str
    nth: int
    value_s: float
    median_s: float


Row = Annotated[
    PrefillRow | DecodeRow | InterferenceRow | LoadRow | TransferRow | OutlierMark,
    Field(discriminator="kind"),
]
_ROW: TypeAdapter[Any] = TypeAdapter(Row)
KINDS = ("prefill", "decode", "interference", "load", "transfer")
"""Kinds of measured rows."""
MARK = "outlier"
"""Kind of the row that says something of another row."""


def parse_row(record: Any, *, where: str) -> Any:
    """Check one record against the schema.

    Raises
    ------
    MeasurementError
        Naming `where`, the field and the nearest valid field name.
    """
    if not isinstance(record, dict):
        raise MeasurementError(f"{where}: expected an object with a 'kind', got {type(record).__name__}")
    kind = record.get("kind")
    kinds = (*KINDS, MARK)
    if kind not in kinds:
        raise MeasurementError(f"{where}: kind={kind!r} is not one of {', '.join(kinds)}{nearest(str(kind), kinds)}")
    try:
        row = _ROW.validate_python(record, strict=False)
    except ValidationError as error:
        models: dict[str, type[BaseModel]] = {
            "prefill": PrefillRow,
            "decode": DecodeRow,
            "interference": InterferenceRow,
            "load": LoadRow,
            "transfer": TransferRow,
            "outlier": OutlierMark,
        }
        model = models[kind]
        raise MeasurementError(f"{where}: {explain(error, tuple(model.model_fields), tags=kinds)}") from None
    for name, given in record.items():
        if _has_truth(given) and not _has_truth(getattr(row, name, None)):
            raise MeasurementError(f"{where}: '{name}' = {given!r}: expected a number")
    return row


def _has_truth(value: Any) -> bool:
    """Return whether a value is true or false, or a list with one of them; a number may be read from either."""
    return isinstance(value, bool) or (isinstance(value, (list, tuple)) and any(map(_has_truth, value)))


def row_schema() -> dict[str, Any]:
    """Return the JSON Schema of a row."""
    return _ROW.json_schema()
