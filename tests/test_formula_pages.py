"""The formulas of the explanation pages are those of the code: every equation is read, computed, and compared.

An equation is plain text: a space between two factors is a product, ``^`` a power, ``f(a | b)`` a call. A new one in
docs/explanation/model.md fails here until it is compared with something.
"""

from __future__ import annotations

import math
import re

import pytest
from curve_cases import DECODE, FRONTEND, HANDOFF, PREFILL, STALL, turn_model

from ppdsim.analytical.arm_comparison import ArmComparison, cached_on_p, j_gain_s
from ppdsim.analytical.breakeven import break_even, break_even_price
from ppdsim.compose import UNMEASURED_SIGMA
from ppdsim.cost.base import pad_up
from ppdsim.cost.prefill import ONE_WAVE_TOKENS, attention_rows, wave_tokens
from ppdsim.derive import errors, terms
from ppdsim.derive.machine import (
    HEAD_LAUNCHES,
    LAYER_LAUNCHES,
    NORM_LAUNCHES,
    Machine,
    Matrices,
    ring_share,
)
from ppdsim.engines.sglang.releases import DECODE_GRAPH_SIZES, PREFILL_GRAPH_SIZES_TOKENS
from ppdsim.machine.hardware import find_gpu
from ppdsim.types import Arm, ModelShape, Transport

M, L = 300.0, 4096.0
"""New and cached tokens; 300 is no captured graph size."""
BATCH, CONTEXT, GAMMA = 9.0, 2048.0, 0.7
"""Streams (no captured graph size), context of each [tokens], price."""
MODEL = turn_model()
COMPARISON = ArmComparison(
    arm=Arm.P_FULL, transport=Transport.TCP, gamma=GAMMA, residents=9, resident_context_tokens=round(CONTEXT)
)
STEP_S = float(DECODE.step_s(BATCH, BATCH * CONTEXT))
STALL_S = float(MODEL.stall_s(Arm.APPEND_D, L, M, BATCH, CONTEXT))
TTFT_D, TTFT_P = float(MODEL.append_ttft_s(L, M)), float(MODEL.handoff_ttft_s(Arm.P_FULL, Transport.TCP, L, M))
PREFILL_NAMES = {
    **PREFILL.parameter_values(),
    "k": PREFILL.overlap_sharpness,
    "m": M,
    "c": L,
    "pad": lambda tokens: float(pad_up(tokens, PREFILL_GRAPH_SIZES_TOKENS)),
    "ceil": math.ceil,
}
NAMES = {
    "L": L,
    "m": M,
    "T_ext": lambda new, cached: float(PREFILL.seconds(new, cached, MODEL.chunked_prefill_size)),
    "T_step": STEP_S,
    "launch_s": STALL.launch_s,
    "h": max(0.0, STALL.launch_s - STEP_S),
    "stall_s": STALL_S,
    "stall_gap_s": float(MODEL.stall_gap_s(L, M, BATCH, CONTEXT)),
    "gamma": GAMMA,
    "N": BATCH,
    "TTFT": TTFT_D,
    "TTFT_D": TTFT_D,
    "TTFT_P": TTFT_P,
    "S_D": STALL_S,
    "S_P": 0.0,
}


def value(text: str, names: dict[str, object]) -> float:
    """Return what an equation's right side says.

    >>> value("a b + f(c | d)^2", {"a": 2.0, "b": 3.0, "c": 1.0, "d": 2.0, "f": lambda x, y: x + y})
    15.0
    """
    code = text.replace(" | ", ", ").replace("N*", "N_star")
    code = re.sub(r"(?<=[\w)])\s+(?=[\w(])", " * ", code).replace("^", "**")
    return float(eval(code, {"__builtins__": {}, "max": max}, names))  # noqa: S307


@pytest.fixture(scope="module")
def page(repository):
    return (repository / "docs/explanation/model.md").read_text()


@pytest.fixture(scope="module")
def derive_page(repository):
    return (repository / "docs/explanation/derive.md").read_text()


def equations(page: str) -> dict[str, str]:
    """Return the right side of every equation in a block or in backquotes, by its left side."""
    blocks = re.findall(r"^    (\S.*?)\s+= (.+)$", page, flags=re.MULTILINE)
    inside = [code.split(" = ", 1) for code in page.split("`")[1::2] if " = " in code]
    return {left.strip(): " ".join(right.split()) for left, right in (*blocks, *inside)}


def test_every_equation_of_the_model_page_is_compared(page):
    assert set(equations(page)) == {
        "S", "r", "gpu", "rows", "T", "TTFT(append-d)", "TTFT(p-*)", "stall_s", "h", "J", "N*", "gamma*",
    }  # fmt: skip


@pytest.mark.parametrize("new", [M, 600.0, 1300.0])
def test_a_forward_is_the_smooth_maximum_of_the_page(page, new):
    found, names = equations(page), {**PREFILL_NAMES, "m": new}
    beyond, otherwise = re.split(r" (?=\(m itself)", found["rows"])
    assert otherwise == "(m itself up to wave_tokens)"
    rows = value(beyond, names) if new > PREFILL.wave_tokens else new
    gpu = value(found["gpu"], {**names, "rows": rows})
    assert value(found["T"], {**names, "gpu": gpu}) == pytest.approx(
        float(PREFILL.forward_s(PREFILL.work(new, L))), rel=1e-12
    )


def test_the_rows_of_a_wave_are_those_of_the_page(page):
    tile = re.search(r"so (\d+) x multiprocessors / query heads of one GPU", " ".join(page.split()))[1]
    (shown,) = re.findall(r"\((\d+) tokens for Llama-3.1-8B on an H100 or H200\)", page)
    for name in ("H100-SXM", "H200"):
        multiprocessors = find_gpu(name).multiprocessors
        assert wave_tokens(multiprocessors, 32.0, int(tile)) == float(tile) * multiprocessors / 32.0 == float(shown)
    assert f"it is {ONE_WAVE_TOKENS:.0e}".replace("e+09", "e9") in page
    assert f"600 new tokens attend for as long as {attention_rows(600.0, 528.0):,.0f}" in page


def test_a_step_is_that_of_the_page(page):
    (text,) = re.findall(r"`(floor_s \+ row_s[^`]+)`", page)
    names = {
        **DECODE.parameter_values(),
        "B": BATCH,
        "C": BATCH * CONTEXT,
        "pad": lambda rows: float(pad_up(rows, DECODE_GRAPH_SIZES)),
    }
    assert value(" ".join(text.split()), names) == pytest.approx(STEP_S, rel=1e-12)


def test_the_stall_is_that_of_the_page(page):
    found = equations(page)
    assert value(found["h"], NAMES) == NAMES["h"] > 0.0
    assert "`T_ext(m | L) - h`" in page
    assert value("T_ext(m | L) - h", NAMES) == pytest.approx(STALL_S, rel=1e-12)
    assert value(found["stall_s"], NAMES) == pytest.approx(STALL_S, rel=1e-9)


def test_the_ttft_of_either_arm_is_that_of_the_page(page):
    found = equations(page)
    assert found["TTFT(append-d)"] == "front end + W_D + T_ext(m | L)"
    front = float(FRONTEND.before_s(L + M)) + float(FRONTEND.after_s())
    assert front + value("T_ext(m | L)", NAMES) == pytest.approx(TTFT_D, rel=1e-12)
    assert found["TTFT(p-*)"] == "front end + W_P + hand-off[T_ext(m_P | c_P)]"
    free = turn_model(handoffs={key: HANDOFF.from_values(_nothing()) for key in MODEL.handoffs})
    instant = float(free.handoff_ttft_s(Arm.P_FULL, Transport.TCP, L, M))
    assert instant == pytest.approx(TTFT_D, rel=1e-12)  # a hand-off that takes nothing leaves P's forward


def _nothing() -> dict[str, float]:
    return dict.fromkeys(HANDOFF.parameter_values(), 0.0)


def test_the_cost_and_what_breaks_even_are_those_of_the_page(page):
    found = equations(page)
    cost = {
        arm: value(found["J"], {**NAMES, "TTFT": ttft, "stall_s": stall})
        for arm, ttft, stall in (("D", TTFT_D, STALL_S), ("P", TTFT_P, 0.0))
    }
    assert cost["P"] - cost["D"] == pytest.approx(float(j_gain_s(MODEL, COMPARISON, L, M)), rel=1e-12)
    at_once = COMPARISON.with_price_and_residents(gamma=1.0)
    streams = break_even(MODEL, at_once, L, M).streams
    there = float(MODEL.stall_s(Arm.APPEND_D, L, M, streams, CONTEXT))  # the page: a root, S_D depends on N
    assert value(found["N*"], {**NAMES, "S_D": there}) == pytest.approx(streams, rel=1e-6)
    own = value(found["N*"], NAMES)
    assert value(found["gamma*"], {**NAMES, "N_star": own}) == pytest.approx(
        float(break_even_price(MODEL, COMPARISON, L, M)), rel=1e-12
    )
    assert value(found["r"], {"L": L, "S": value(found["S"], NAMES)}) == L / (L + M)


def test_what_p_computes_is_as_the_page_says(page):
    assert "computes m + o tokens on top of L - o, rounded down to its page. A cold P computes all L + m" in " ".join(
        page.split()
    )
    warm = ArmComparison(arm=Arm.P_FULL, transport=Transport.TCP, previous_output_tokens=100)
    assert cached_on_p(warm, L, 64) == (L - 100) // 64 * 64
    assert cached_on_p(ArmComparison(arm=Arm.P_FULL, transport=Transport.TCP, cold=True), L, 64) == 0.0
    assert f"sigma of {UNMEASURED_SIGMA:.0%}".replace("%", " %") in page


def machine(**changes: object) -> Machine:
    """Return a machine of sizes that are all different."""
    parts: dict[str, object] = {
        "gpu": find_gpu("H100-SXM"),
        "shape": ModelShape(name="odd", layers=7, kv_heads=4, query_heads=12, head_dim=96, dtype_bytes=2),
        "matrices": Matrices(
            hidden_size=1100,
            intermediate_size=3000,
            matrix_parameters=1e8,
            vocabulary_parameters=3e7,
            query_key_norm=False,
            tied_embeddings=False,
        ),
        "weights_dtype": "bf16",
        "tp": 1,
        **changes,
    }
    return Machine(**parts)  # type: ignore[arg-type]


def test_the_laws_of_the_derive_page_count_as_the_code_does(derive_page):
    one, four = machine(), machine(tp=4)
    words = re.search(
        r"(\d+) kernels a layer \((\d+) with query and key norms\) \+ (\d+), \+ (\d+) all-reduces", derive_page
    )
    assert [int(count) for count in words.groups()] == [
        LAYER_LAUNCHES,
        LAYER_LAUNCHES + NORM_LAUNCHES,
        HEAD_LAUNCHES,
        four.all_reduces / 7,
    ]
    assert one.launches == LAYER_LAUNCHES * 7 + HEAD_LAUNCHES
    factor = int(re.search(r"(\d) x layers x query heads x head size FLOPs a pair", derive_page)[1])
    assert one.attention_flops_per_pair == factor * 7 * 12 * 96
    factor = int(re.search(r"(\d) x layers x KV heads x head size x dtype bytes", derive_page)[1])
    assert one.kv_bytes_per_token == factor * 7 * 4 * 96 * 2
    assert "2 (t - 1)/t of the partial sums" in derive_page
    assert ring_share(4) == value("2 (t - 1)/t", {"t": 4.0})


def test_the_constants_of_the_derive_page_are_the_shipped_ones(derive_page):
    text, found = " ".join(derive_page.split()), errors.load().reached
    for words, number in (
        ("read at {} of the memory bandwidth", found.memory_share),
        ("large messages move at {} of NVLink's", found.link_share),
        ("takes {} of a row's FLOPs at peak longer", found.row_share),
        ("gets a sigma of {}, that of an unmeasured hand-off", UNMEASURED_SIGMA),
    ):
        assert words.format(f"{number:.2f}") in text


def test_the_derive_page_has_every_parameter_that_moves(derive_page):
    table = derive_page.split("## Laws")[1].split("\n\n")[2]
    named = set(re.findall(r"`(\w+)`", table))
    moving = {
        name
        for kind in ("prefill", "decode", "stall")
        for name, term in terms.TERMS[kind].items()
        if term.law is not terms.kept
    }
    assert named == moving
