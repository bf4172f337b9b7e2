"""What a row of the right form cannot say: reasons for which it is left out."""

from __future__ import annotations

from typing import Any

from ppdsim.measurements.floor import HardwareFloor
from ppdsim.measurements.rows import DecodeRow, InterferenceRow, LoadRow, PrefillRow
from ppdsim.units import LARGEST


def impossible(row: Any, floor: HardwareFloor) -> str | None:
    """Return why a well-formed row cannot be true, or None.

    Checked: negative times, cached_tokens above the prompt or other than intended, requests that did not finish by
    length (a turn of a load may also stop by itself, or not say how), streams that were not all running, and a first
    token faster than the hardware's floor.
    """
    if isinstance(row, LoadRow) and row.finish_reason not in ("length", "stop", None):
        return f"request ended with finish_reason={row.finish_reason!r}, expected 'length' or 'stop'"
    negative = _negative_time(row.model_dump())
    if negative is not None:
        return negative
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
        prompt = row.cached_tokens + row.new_tokens
        if max(row.found_cached_tokens, default=0) > prompt:
            return f"found_cached_tokens={max(row.found_cached_tokens)} is above the prompt of {prompt} tokens"
        if not row.all_running:
            return "not all streams were running"
    if isinstance(row, DecodeRow) and row.itl_median_s < floor.weight_read_s:
        return f"itl_median_s={row.itl_median_s:.6f} is below the weight-read floor"
    return None


def _negative_time(record: dict[str, Any]) -> str | None:
    for name, value in record.items():
        if isinstance(value, dict):
            found = _negative_time(value)
            if found is not None:
                return f"{found} of {name}"
        elif name.endswith("_s"):
            for number in value if isinstance(value, tuple) else (value,):
                if number is not None and number < 0.0:
                    return f"negative time {name}={number}"
                if number is not None and number > LARGEST:
                    return f"{name}={number:g}, beyond {LARGEST:g}"
    return None


def _impossible_load(row: LoadRow, floor: HardwareFloor) -> str | None:
    if row.prompt_tokens < 1:
        return f"prompt_tokens={row.prompt_tokens}, expected at least 1"
    if row.cached_tokens is not None:
        if row.cached_tokens > row.prompt_tokens:
            return f"cached_tokens={row.cached_tokens} is above the prompt of {row.prompt_tokens} tokens"
        if row.new_tokens != row.prompt_tokens - row.cached_tokens:
            return (
                f"new_tokens={row.new_tokens}, but {row.prompt_tokens - row.cached_tokens} of the prompt are not cached"
            )
    # Without a count of cached tokens all but the last may have been cached.
    new_tokens = 1 if row.new_tokens is None else row.new_tokens
    for name, value in (("ttft_s", row.ttft_s), ("e2e_s", row.e2e_s)):
        if value is not None and value < floor.first_token_s(new_tokens):
            return f"{name}={value:.6f} is below the hardware's floor"
    return None
