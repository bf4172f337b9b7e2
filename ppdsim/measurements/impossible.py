"""What a row of the right form cannot say: reasons for which it is left out."""

from __future__ import annotations

from typing import Any

from ppdsim.measurements.manifest import Manifest
from ppdsim.measurements.rows import DecodeRow, InterferenceRow, LoadRow, PrefillRow


def impossible(row: Any, manifest: Manifest) -> str | None:
    """Return why a well-formed row cannot be true, or None.

    Checked: negative times, cached_tokens above the prompt or other than intended, requests that did not finish by
    length, streams that were not all running, and a first token faster than the hardware's floor.
    """
    for name, value in row.model_dump().items():
        if name.endswith("_s"):
            for number in value if isinstance(value, tuple) else (value,):
                if number is not None and number < 0.0:
                    return f"negative time {name}={number}"
    if getattr(row, "finish_reason", "length") != "length":
        return f"request ended with finish_reason={row.finish_reason!r}, expected 'length'"
    if isinstance(row, PrefillRow):
        prompt = row.cached_tokens + row.new_tokens
        if row.found_cached_tokens > prompt:
            return f"found_cached_tokens={row.found_cached_tokens} is above the prompt of {prompt} tokens"
        if row.found_cached_tokens != row.cached_tokens:
            return f"found_cached_tokens={row.found_cached_tokens}, intended {row.cached_tokens}"
        floor_s = manifest.first_token_floor_s(row.new_tokens)
        if row.ttft_s < floor_s:
            return f"ttft_s={row.ttft_s:.6f} is below the hardware's floor of {floor_s:.6f} s"
    if isinstance(row, InterferenceRow):
        prompt = row.cached_tokens + row.new_tokens
        if max(row.found_cached_tokens, default=0) > prompt:
            return f"found_cached_tokens={max(row.found_cached_tokens)} is above the prompt of {prompt} tokens"
        if not row.all_running:
            return "not all streams were running"
    if isinstance(row, DecodeRow) and row.itl_median_s < manifest.weight_read_floor_s:
        return f"itl_median_s={row.itl_median_s:.6f} is below the weight-read floor"
    if isinstance(row, LoadRow) and row.ttft_s < manifest.first_token_floor_s(row.new_tokens):
        return f"ttft_s={row.ttft_s:.6f} is below the hardware's floor"
    return None
