"""What a row of the right form cannot say: reasons for which it is left out."""

from __future__ import annotations

from typing import Any

from ppdsim.measurements.machine import HardwareFloor
from ppdsim.measurements.rows import DecodeRow, InterferenceRow, LoadRow, PrefillRow
from ppdsim.units import LARGEST


def impossible(row: Any, floor: HardwareFloor) -> str | None:
    """Return why a well-formed row cannot be true, or None.

    Checked: negative times and times of more than a day, counts that no request has, cached_tokens above the prompt or
    other than intended, requests that did not finish by length (a turn of a load may also stop by itself, or not say
    how), streams that were not all running, and a first token faster than the hardware's floor.
    """
    if isinstance(row, LoadRow) and row.finish_reason not in ("length", "stop", None):
        return f"request ended with finish_reason={row.finish_reason!r}, expected 'length' or 'stop'"
    if isinstance(row, LoadRow) and row.cached_tokens is not None and row.cached_tokens > row.prompt_tokens > 0:
        return f"cached_tokens={row.cached_tokens} is above the prompt of {row.prompt_tokens} tokens"
    record = row.model_dump()
    unbelievable = _unbelievable_time(record) or _unbelievable_count(record) or _nothing_measured(record)
    if unbelievable is not None:
        return unbelievable
    if isinstance(row, LoadRow):
        return _impossible_load(row, floor)
    if getattr(row, "finish_reason", "length") != "length":
        return f"request ended with finish_reason={row.finish_reason!r}, expected 'length'"
    if isinstance(row, PrefillRow):
        prompt = row.cached_tokens + row.new_tokens
        if row.found_cached_tokens > prompt:
            return f"found_cached_tokens={row.found_cached_tokens} is above the prompt of {prompt} tokens"
        if row.found_cached_tokens != row.cached_tokens:
            return f"found_cached_tokens={row.found_cached_tokens}, intended {row.cached_tokens}"
        floor_s = floor.first_token_s(row.new_tokens)
        if row.ttft_s < floor_s:
            return f"ttft_s={row.ttft_s:.6f} is below the hardware's floor of {floor_s:.6f} s"
    if isinstance(row, InterferenceRow):
        return _impossible_interference(row)
    if isinstance(row, DecodeRow) and row.itl_median_s < floor.weight_read_s:
        return f"itl_median_s={row.itl_median_s:.6f} is below the weight-read floor"
    return None


MEASURED = {"prefill": ("ttft_s",), "decode": ("itl_median_s",), "transfer": ("transfer_s",)}
"""What a row of a kind was measured for: the fits divide by it."""
FITTED = ("prefill", "decode", "interference", "transfer")
"""Kinds of rows that curves are fitted to; a load keeps what servers logged, which may be times of their clocks."""
LONGEST_S = 86_400.0
"""A day [s]: no fitted row spans more. Clocks of a server (``_unix_s``) and of the run (``elapsed_s``) are no spans."""
LEAST = {
    "new_tokens": 1,
    "batch": 1,
    "blocks": 1,
    "size_bytes": 1,
    "output_tokens": 1,
    "cached_tokens": 0,
    "prefill_cached_tokens": 0,
    "found_cached_tokens": 0,
    "prompt_tokens": 0,
    "generated_tokens": 0,
    "gaps": 0,
    "window_gaps": 0,
}
"""Smallest counts that a row can hold; a load may have turns that found all their tokens cached."""
MOST_COUNTED = 10**9
"""Largest count that a row can hold [tokens, streams, gaps]; its bytes may be a thousand times as many."""


def _unbelievable_time(record: dict[str, Any]) -> str | None:
    for name, value in record.items():
        if isinstance(value, dict):
            found = _unbelievable_time(value)
            if found is not None:
                return f"{found} of {name}"
        elif name.endswith("_s"):
            clock = record.get("kind") not in FITTED or name.endswith("_unix_s") or name == "elapsed_s"
            for number in value if isinstance(value, tuple) else (value,):
                if number is not None and number < 0.0:
                    return f"negative time {name}={number}"
                if number is not None and number > LONGEST_S and not clock:
                    return f"{name}={number:g} is more than a day"
                if number is not None and number > LARGEST:
                    return f"{name}={number:g}, beyond {LARGEST:g}"
    return None


def _nothing_measured(record: dict[str, Any]) -> str | None:
    zero = next((name for name in MEASURED.get(record["kind"], ()) if record[name] == 0.0), None)
    return None if zero is None else f"{zero}=0, expected above 0"


def _unbelievable_count(record: dict[str, Any]) -> str | None:
    load = record["kind"] == "load"
    for name, least in LEAST.items():
        value = record.get(name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is None:
                continue
            most = MOST_COUNTED * (1000 if name.endswith("bytes") else 1)
            if not (0 if load else least) <= number <= most:
                return f"{name}={number:g}, expected {0 if load else least} to {most:g}"
    return None


def _impossible_interference(row: InterferenceRow) -> str | None:
    lengths = {name: len(getattr(row, name)) for name in ("stall_gap_s", "window_sum_s", "window_gaps")}
    if not row.stall_gap_s or len(row.window_sum_s) != len(row.window_gaps):
        listed = ", ".join(f"{count} {name}" for name, count in lengths.items())
        return f"{listed}; expected one a turn, and at least one"
    if min(row.stall_gap_s) <= 0.0:
        return f"stall_gap_s={min(row.stall_gap_s):g}, expected above 0"
    prompt = row.cached_tokens + row.new_tokens
    if max(row.found_cached_tokens, default=0) > prompt:
        return f"found_cached_tokens={max(row.found_cached_tokens)} is above the prompt of {prompt} tokens"
    if not row.all_running:
        return "not all streams were running"
    return None


def _impossible_load(row: LoadRow, floor: HardwareFloor) -> str | None:
    if row.prompt_tokens < 1:
        return f"prompt_tokens={row.prompt_tokens}, expected at least 1"
    if row.cached_tokens is not None and row.new_tokens != row.prompt_tokens - row.cached_tokens:
        return f"new_tokens={row.new_tokens}, but {row.prompt_tokens - row.cached_tokens} of the prompt are not cached"
    # Without a count of cached tokens all but the last may have been cached.
    new_tokens = 1 if row.new_tokens is None else row.new_tokens
    for name, value in (("ttft_s", row.ttft_s), ("e2e_s", row.e2e_s)):
        if value is not None and value < floor.first_token_s(new_tokens):
            return f"{name}={value:.6f} is below the hardware's floor"
    return None
