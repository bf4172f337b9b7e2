"""The page on the append-prefill formula: its claim, its numbers and its dashes come from the script."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest


@pytest.fixture(scope="module")
def script(repository):
    spec = importlib.util.spec_from_file_location("append_formula", repository / "benchmarks/append_formula.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def attention(script):
    return script.Attention()


def test_sixteen_new_tokens_come_out_below_decoding_one_and_below_reading_the_kv(script, attention):
    tokens = np.array([4096.0, 8192.0, 32768.0])
    formula = attention.formula_s(16, tokens)
    assert (formula < attention.decode_s(tokens)).all()
    assert (formula < script.kv_read_s(tokens)).all()


def test_decoding_takes_no_less_than_reading_the_kv(script, attention):
    tokens = attention.decode_tokens
    assert (attention.decode_s(tokens) > script.kv_read_s(tokens)).all()


def test_without_a_prefix_the_formula_is_the_table(attention):
    tokens = np.array([1024.0, 16384.0])
    assert attention.formula_s(1024, np.zeros(1))[0] == pytest.approx(attention.prompt_s(tokens)[0])


def test_the_page_holds_the_printed_numbers(script, attention, repository):
    page = (repository / "docs/explanation/append-prefill-formula.md").read_text()
    printed = script.table(attention).splitlines()
    for line in printed:
        cells = line.split()
        if cells and cells[0] in ("4096", "8192", "16384", "32768") and len(cells) >= 5 and "(" not in cells[2]:
            row = next(r for r in page.splitlines() if r.startswith(f"| {int(cells[0]):,} |"))
            assert all(f"{cell} ms" in row for cell in cells[1:5])
            assert ("extrapolated" in row) == ("extrapolated" in line)


def test_what_is_extrapolated_is_dashed(script, attention):
    traces = script.figure(attention).data
    beyond = [t for t in traces if t.mode == "lines" and t.line.color == script.COLOURS[16] and t.xaxis != "x2"]
    assert {trace.line.dash for trace in beyond if max(trace.x) > attention.longest_prompt_tokens} == {"dash"}
    steps = [t for t in traces if t.xaxis == "x2" and t.line.color == script.COLOURS["decode"]]
    assert {t.line.dash for t in steps if max(t.x) > script.longest_decode_tokens()} == {"dash"}
