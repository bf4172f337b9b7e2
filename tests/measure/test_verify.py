"""A finished request counts only if it is what the cell asked for."""

from __future__ import annotations

import pytest

from ppdsim.engines.client import Generation
from ppdsim.measure.prefill import not_as_asked


def generation(**changes) -> Generation:
    fields = {
        "sent_s": 0.0,
        "token_s": (0.1, 0.2),
        "finish_reason": "length",
        "prompt_tokens": 1000,
        "cached_tokens": 640,
        **changes,
    }
    return Generation(**fields)


def reason(found: Generation) -> str | None:
    return not_as_asked(found, prompt_tokens=1000, cached_tokens=640, output_tokens=2, page_size_tokens=64)


def test_what_was_asked_for_counts():
    assert reason(generation()) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_tokens": 999}, "counted a prompt of 999 tokens, sent 1000"),
        ({"token_s": (0.1,)}, "1 tokens came back, expected 2"),
        ({"cached_tokens": 576}, "576 cached tokens, intended 640"),
        ({"cached_tokens": 0}, "0 cached tokens, intended 640"),
        ({"cached_tokens": 1280}, "counted twice"),
        ({"retractions": 1}, "retracted it 1 times"),
    ],
)
def test_what_was_not_says_why(changes, message):
    assert message in reason(generation(**changes))


def test_a_prefix_counts_in_whole_pages():
    found = generation(cached_tokens=640)
    assert not_as_asked(found, prompt_tokens=1000, cached_tokens=700, output_tokens=2, page_size_tokens=64) is None
