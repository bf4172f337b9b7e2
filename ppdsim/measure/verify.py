"""Every point is verified before it counts: reasons for which a finished request is not what the cell asked for."""

from __future__ import annotations

from ppdsim.engines.client import Generation


def not_as_asked(
    found: Generation, *, prompt_tokens: int, cached_tokens: int, output_tokens: int, page_size_tokens: int
) -> str | None:
    """Return why a request does not count, or None.

    An engine caches whole pages, and always computes the last prompt token; the intended `cached_tokens` are a multiple
    of the page, so anything else than exactly they means that the prefix was evicted, or counted twice.
    """
    if found.prompt_tokens != prompt_tokens:
        return f"the engine counted a prompt of {found.prompt_tokens} tokens, sent {prompt_tokens}"
    if found.output_tokens != output_tokens:
        return f"{found.output_tokens} tokens came back, expected {output_tokens}"
    if found.retractions:
        return f"the engine retracted it {found.retractions} times: not enough KV for what ran"
    pages = cached_tokens // page_size_tokens * page_size_tokens
    if found.cached_tokens > prompt_tokens:
        return f"{found.cached_tokens} cached tokens of a prompt of {prompt_tokens}: counted twice"
    if found.cached_tokens != pages:
        return f"{found.cached_tokens} cached tokens, intended {pages}"
    return None
