"""The page as a file: complete, offline, the answer first, nothing of an answer taken for HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from report.built import built_answer
from report.test_figures import ANSWERS

from ppdsim.report.figures import FIGURES
from ppdsim.report.page import render

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Reader(HTMLParser):
    """Collects what a browser would load, the text of the body, and the names of elements."""

    def __init__(self):
        super().__init__()
        self.loads, self.text, self.ids, self.open = [], [], set(), []

    def handle_starttag(self, tag, attributes):
        self.loads += [value for key, value in attributes if key in ("src", "href", "srcset", "data", "action")]
        self.ids |= {value for key, value in attributes if key == "id"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "body" in self.open and self.open[-1] != "script" and data.strip():
            self.text.append(data.strip())


def read(text):
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    return reader


@pytest.fixture(scope="module")
def text():
    return render(built_answer())


def test_the_answer_is_the_first_line(text):
    assert read(text).text[0] == built_answer().headline


def test_nothing_is_loaded_from_outside(text):
    assert read(text).loads == ["data:,"]
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_everything_of_the_answer_is_on_the_page(text):
    reader = read(text)
    answer = built_answer()
    for sentence in (*answer.findings, *answer.differences, *answer.caveats, *answer.profile.notes):
        assert sentence in reader.text
    assert {"an engine", "2026-01-02", "row 7: negative time", "seed", "at its bound"} <= set(reader.text)
    assert set(FIGURES) <= reader.ids
    assert {f"table-{name}" for name in ("points", "r", "new_tokens", "quality", "parameters")} <= reader.ids


@pytest.mark.parametrize("name", ["nothing simulated", "no crossing", "bare"])
def test_any_answer_makes_a_page(name):
    reader = read(render(ANSWERS[name]()))
    assert reader.text[0] == built_answer().headline


def test_text_of_the_answer_is_never_html():
    evil = "</script><script>alert('&')</script><b>"
    answer = built_answer(
        headline=evil, scenario=evil, caveats=(evil,), settings=((evil, evil),), provenance=((evil, evil),)
    )
    harmless = render(built_answer())
    text = render(answer)
    assert read(text).text[0] == evil
    assert "alert('" not in text
    assert len(re.findall("<script", text)) == len(re.findall("<script", harmless))


def test_names_of_arms_cannot_end_the_data():
    evil = "</script><b>"
    answer = built_answer()
    maps = tuple(replace(m, against=replace(m.against, arm=evil)) for m in answer.maps)
    text = render(replace(answer, maps=maps))
    assert evil not in text
    assert "\\u003c/script\\u003e\\u003cb\\u003e" in text
