"""SGLang's ``bench_serving --output-file F --output-details``: one JSON line a run, lists with an entry a turn.

The line is written at the end of ``benchmark`` in sglang/benchmark/serving.py (0.5.17). Its client's ``ttfts`` and
``itls`` are seconds, so E2E = TTFT + sum(ITL) and TPOT = sum(ITL) / (output tokens - 1).

Not known: when a request was sent, which conversation it belongs to (the turns of multi-turn runs stand in one list),
why it ended, and without ``--cache-report`` what was cached. The client spreads a chunk's time evenly over its tokens,
so the longest ITL is that of the slowest chunk's mean token. Where a whole answer came as one chunk
(``--disable-stream``) TTFT is not known; where the engine sends token ids only the client sees no token at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ppdsim.engines.records.converted import ABORT, Converted, Count, Seconds, converted_loads, malformed
from ppdsim.engines.records.deployment import HANDED_OFF, UNIFIED, UNTOLD, Deployment
from ppdsim.engines.records.source import Source
from ppdsim.errors import MeasurementError
from ppdsim.measurements import LoadRow
from ppdsim.types import Arm

DETAILS = ("input_lens", "output_lens", "ttfts", "itls", "errors")
EXPECTED = "a run of SGLang's bench_serving with --output-details"


class BenchRun(BaseModel):
    """What is read of one line; the summaries beside it are not."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    tag: str | None = None
    input_lens: list[Count]
    output_lens: list[Count]
    ttfts: list[Seconds]
    itls: list[list[Seconds]]
    errors: list[str | None]
    cached_tokens: list[Count] | None = None
    server_info: Any = None


def convert(sources: Sequence[Source], deployment: Deployment) -> Converted:
    """Return every request of every run as a load row, in the order of the file.

    Raises
    ------
    MeasurementError
        If a line has no details, its lists differ in length, a request has no prompt, or the arm is not known.
    """
    rows: list[tuple[str, LoadRow]] = []
    for source in sources:
        for number, (where, record) in enumerate(source.json_lines()):
            bench = _parsed(record, where)
            arm, transport = deployment.resolve(told_arms(bench.server_info), where=where)
            run = bench.tag or f"{source.name}-{number}"
            for index in range(len(bench.errors)):
                row = LoadRow(purpose="validation", run=run, arm=arm, transport=transport, **_row(bench, index))
                rows.append((f"{where}: request {index}", row))
    return converted_loads(rows)


def told_arms(server_info: Any) -> frozenset[Arm]:
    """Return the arms that the recorded /server_info leaves possible."""
    if not isinstance(server_info, dict):
        return UNTOLD
    decoders = server_info.get("decode")
    if isinstance(decoders, list) and decoders and isinstance(decoders[0], dict):
        keeps = decoders[0].get("disaggregation_decode_enable_radix_cache")
        if isinstance(keeps, bool):
            return frozenset({Arm.P_DELTA if keeps else Arm.P_FULL})
        return HANDED_OFF
    return UNIFIED if server_info.get("disaggregation_mode") == "null" else UNTOLD


def _parsed(record: dict[str, Any], where: str) -> BenchRun:
    if not any(name in record for name in DETAILS):
        raise MeasurementError(
            f"{where}: a summary of a bench_serving run, without its requests: run bench_serving with --output-details"
        )
    try:
        bench = BenchRun.model_validate(record)
    except ValidationError as error:
        raise malformed(error, where=where, expected=EXPECTED) from None
    lengths = {name: len(getattr(bench, name)) for name in DETAILS}
    if bench.cached_tokens is not None:
        lengths["cached_tokens"] = len(bench.cached_tokens)
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise MeasurementError(f"{where}: lists of one run differ in length ({found}), expected one entry a request")
    return bench


def _row(bench: BenchRun, index: int) -> dict[str, Any]:
    prompt_tokens, output_tokens = bench.input_lens[index], bench.output_lens[index]
    failed = bool(bench.errors[index])
    row: dict[str, Any] = {"prompt_tokens": prompt_tokens, "output_tokens": output_tokens}
    if bench.cached_tokens is not None and not failed:
        cached = bench.cached_tokens[index]
        row |= {"cached_tokens": cached, "new_tokens": prompt_tokens - cached}
    if failed:
        return {**row, "finish_reason": ABORT}
    first_s, gaps_s = bench.ttfts[index], bench.itls[index]
    if first_s == 0.0:
        return row
    if gaps_s:
        decoding_s = sum(gaps_s)
        row |= {"ttft_s": first_s, "itl_max_s": max(gaps_s), "e2e_s": first_s + decoding_s}
        return row | ({"tpot_s": decoding_s / (output_tokens - 1)} if output_tokens > 1 else {})
    return row | ({"ttft_s": first_s, "e2e_s": first_s} if output_tokens == 1 else {"e2e_s": first_s})
