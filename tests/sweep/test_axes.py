"""``--grid key=a,b,c``: what is a value, what is a number, and what is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppdsim.errors import InputError
from ppdsim.sweep.axes import axis, parse_axes


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("transport=tcp,nvlink", "transport", ("tcp", "nvlink")),
        ("fleet.0.count= 1, 2 ", "fleet.0.count", ("1", "2")),
        ("a.values=[1, 2],[3]", "a.values", ("[1, 2]", "[3]")),
        ('a={x: [1,2], y: "]"},2', "a", ('{x: [1,2], y: "]"}', "2")),
        ("a=x=1,y", "a", ("x=1", "y")),
    ],
)
def test_values_are_parted_outside_brackets_and_quotes(text, key, values) -> None:
    (found,) = parse_axes([text])
    assert (found.key, found.values) == (key, values)


def test_an_axis_has_numbers_only_if_all_its_values_are() -> None:
    assert axis("rate", [1, "2.5", 1e3]).numbers == (1.0, 2.5, 1000.0)
    assert axis("rate", ["1", "nan"]).numbers is None
    assert axis("switch", [True, False]).values == ("true", "false")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "--grid: given none"),
        (["a"], "expected key=a,b,c"),
        (["=1"], "expected key=a,b,c"),
        (["a=1,,2"], "expected key=a,b,c"),
        (["a=1,2,1"], "1 is there twice"),
        (["a=1", "a=2"], "the key is there twice"),
        (["a=[1,2"], "not closed"),
        (["a='x,y"], "not closed"),
    ],
)
def test_what_is_no_grid_is_said(texts, message) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        parse_axes(texts)


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=3))
def test_any_text_is_axes_or_one_clear_error(texts) -> None:
    with suppress(InputError):
        found = parse_axes(texts)
        assert all(each.key and all(each.values) for each in found)
