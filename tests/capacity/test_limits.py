"""``--slo``: limits by name, in milliseconds, or one clear line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppdsim.capacity import parse_limits
from ppdsim.errors import InputError


def test_limits_are_those_named() -> None:
    found = parse_limits("ttft_ms=500,itl_max_ms=80.5")
    assert (found.ttft_s, found.tpot_s, found.itl_max_s) == (0.5, None, 0.0805)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected such as"),
        ("ttft_ms", "expected such as"),
        ("ttft=5", "did you mean 'ttft_ms'"),
        ("ttft_ms=fast", "given 'fast'"),
        ("ttft_ms=0", "positive"),
        ("ttft_ms=inf", "positive"),
        ("ttft_ms=1,ttft_ms=2", "twice"),
    ],
)
def test_anything_else_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_limits(text)


@given(st.one_of(st.text(max_size=30), st.from_regex(r"(ttft|tpot|itl_max)_ms=[-0-9.e]{0,8}(,.{0,12})?")))
def test_any_text_is_limits_or_an_error(text: str) -> None:
    try:
        found = parse_limits(text)
    except InputError:
        return
    assert any(value is not None and value > 0.0 for value in (found.ttft_ms, found.tpot_ms, found.itl_max_ms))
