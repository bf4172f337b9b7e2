"""Measuring a prefill cell: one turn on a warm prefix at idle machines."""

from __future__ import annotations

from collections.abc import Sequence

from ppdsim.calibrate.drivers.base import AbstractEngine, EngineInfo, Failure, Generation, RequestFailed
from ppdsim.calibrate.live.cells import PrefillCell
from ppdsim.calibrate.live.prompts import Prompts
from ppdsim.calibrate.live.verify import not_as_asked
from ppdsim.measurements import PrefillRow
from ppdsim.types import Arm

OUTPUT_TOKENS = 4
"""Answer of a prefill cell [tokens]: enough to see that the server decodes at its usual pace afterwards."""
TIMEOUT_S = 60.0
"""Bound on one request at idle machines [s]; ten times the slowest cell of the first grid."""
SERVER_FIELDS = {
    "request_received_ts": "server_received_unix_s",
    "api_server_dispatch_finish_ts": "server_dispatched_s",
    "forward_entry_time": "server_forward_entry_s",
    "prefill_finished_time": "server_prefill_finished_s",
    "response_sent_to_client_ts": "server_first_response_s",
    "request_finished_ts": "server_finished_s",
    "queue_time": "server_queue_s",
    "e2e_latency": "server_e2e_s",
    "decode_throughput": "server_decode_tokens_per_s",
}
"""The engine's names and the measurement schema's."""


async def warm(engine: AbstractEngine, prompts: Prompts, cached_tokens: int) -> list[int]:
    """Empty every cache, then make the servers hold a fresh prefix; return it.

    Raises
    ------
    RequestFailed
        If the engine does not take it.
    """
    await engine.flush()
    prefix = prompts.fresh(cached_tokens)
    if prefix:
        await engine.generate(prefix, 1, timeout_s=TIMEOUT_S)
    return prefix


async def measure_prefill(
    engine: AbstractEngine,
    info: EngineInfo,
    cell: PrefillCell,
    prompts: Prompts,
    prefix: Sequence[int],
    *,
    started_s: float,
    decode_holds_prefix: bool,
) -> PrefillRow:
    """Send one turn and return its row.

    `decode_holds_prefix` says that the decode server has a prefix cache: a full transfer needs it emptied first.

    Raises
    ------
    RequestFailed
        If the request failed, or is not what the cell asked for.
    """
    if cell.arm is Arm.P_FULL and decode_holds_prefix and prefix:
        await engine.flush("decode")
    prompt = prompts.turn(prefix, cell.new_tokens)
    found = await engine.generate(prompt, OUTPUT_TOKENS, timeout_s=TIMEOUT_S)
    reason = not_as_asked(
        found,
        prompt_tokens=len(prompt),
        cached_tokens=cell.cached_tokens,
        output_tokens=OUTPUT_TOKENS,
        page_size_tokens=info.page_size_tokens,
    )
    if reason is not None:
        raise RequestFailed(Failure.REFUSED, reason)
    return _row(cell, found, started_s)


def _row(cell: PrefillCell, found: Generation, started_s: float) -> PrefillRow:
    server = {ours: found.server[theirs] for theirs, ours in SERVER_FIELDS.items() if theirs in found.server}
    return PrefillRow(
        arm=cell.arm,
        transport=cell.transport,
        cached_tokens=cell.cached_tokens,
        new_tokens=cell.new_tokens,
        found_cached_tokens=found.cached_tokens,
        repeat=0,
        elapsed_s=found.sent_s - started_s,
        ttft_s=found.ttft_s,
        itl_s=found.tpot_s,
        output_tokens=found.output_tokens,
        finish_reason=found.finish_reason,
        retractions=found.retractions,
        purpose=cell.purpose,
        cell=cell.key,
        **server,
    )
