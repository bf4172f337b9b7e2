"""Plans: what ships is whole, what does not fit is named, and a held-out cell is never a fitted one."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ppdsim.engines.sglang.releases import DECODE_GRAPH_SIZES, PREFILL_GRAPH_SIZES_TOKENS
from ppdsim.errors import InputError, UnknownNameError
from ppdsim.measure.cells import DecodeCell, LoadCell, PrefillCell, StallCell
from ppdsim.measure.plan import cells_of, conversations_of, load_plan, loads_of, transfer_cells
from ppdsim.types import Arm, Transport

UNIFIED = (Arm.APPEND_D, Transport.NONE)
FULL_TCP = (Arm.P_FULL, Transport.TCP)
PAGE_TOKENS = 64


@pytest.fixture(scope="module", params=["quick", "full"])
def plan(request):
    return load_plan(request.param)


def test_a_shipped_plan_measures_every_kind(plan):
    kinds = {type(cell) for cell in cells_of(plan, *UNIFIED)}
    assert kinds >= {PrefillCell, DecodeCell, StallCell}
    handoffs = cells_of(plan, *FULL_TCP)
    assert {type(cell) for cell in handoffs} >= {PrefillCell, StallCell}
    assert all(cell.arm is Arm.P_FULL for cell in handoffs)
    assert transfer_cells(plan, Transport.TCP)


def test_the_validation_cells_lie_off_every_boundary_and_off_the_grid(plan):
    # Turns at a fixed cache rate are whole pages, and held out for what they answer, not for where they lie.
    cells = cells_of(plan.model_copy(update={"rates": ()}), *UNIFIED)
    fitted = {(c.cached_tokens, c.new_tokens) for c in cells if isinstance(c, PrefillCell) and c.purpose == "fit"}
    held_out = [c for c in cells if isinstance(c, PrefillCell) and c.purpose == "validation"]
    assert held_out
    for cell in held_out:
        assert (cell.cached_tokens, cell.new_tokens) not in fitted
        assert cell.new_tokens not in PREFILL_GRAPH_SIZES_TOKENS
        assert cell.new_tokens % PAGE_TOKENS
    batches = [c.batch for c in cells if isinstance(c, DecodeCell) and c.purpose == "validation"]
    assert batches
    assert not set(batches) & set(DECODE_GRAPH_SIZES)


def test_prefixes_are_whole_pages(plan):
    for cell in [*cells_of(plan, *UNIFIED), *cells_of(plan, *FULL_TCP)]:
        if isinstance(cell, (PrefillCell, StallCell)):
            assert cell.cached_tokens % PAGE_TOKENS == 0


def test_keys_are_unique(plan):
    keys = [cell.key for arm in (UNIFIED, FULL_TCP) for cell in cells_of(plan, *arm)]
    assert len(keys) == len(set(keys))


def test_the_full_plan_has_the_grid_that_the_curves_are_fitted_on():
    plan = load_plan("full")
    fitted = {
        kind: [cell for cell in cells_of(plan, *UNIFIED) if isinstance(cell, kind) and cell.purpose == "fit"]
        for kind in (PrefillCell, DecodeCell, StallCell)
    }
    new = {cell.new_tokens for cell in fitted[PrefillCell]}
    assert {cell.cached_tokens for cell in fitted[PrefillCell]} >= {0, 1024, 2048, 4096, 8192, 16_384, 32_768}
    # The small ones dense: no more than a factor of two from one to the next, from 16 on.
    small = sorted(size for size in new if size <= 8192)
    assert (small[0], small[-1]) == (16, 8192)
    assert all(later <= 2 * earlier for earlier, later in pairwise(small))
    assert sum(size <= 512 for size in small) >= 10
    # Several chunks, on short prefixes only.
    long = [cell for cell in fitted[PrefillCell] if cell.new_tokens > 8192]
    assert {cell.new_tokens for cell in long} == {16_384, 29_491}
    assert max(cell.cached_tokens for cell in long) <= 1024
    assert {cell.batch for cell in fitted[DecodeCell]} <= set(DECODE_GRAPH_SIZES)
    assert {cell.prompt_tokens for cell in fitted[DecodeCell]} >= {256, 1024, 4096, 8192}
    held_out = [cell for cell in cells_of(plan, *UNIFIED) if cell.purpose == "validation"]
    assert {cell.new_tokens for cell in held_out if isinstance(cell, PrefillCell)} >= {40, 150, 600, 1500}
    assert {cell.batch for cell in held_out if isinstance(cell, DecodeCell)} == {3, 6, 20}
    # Hand-offs arriving on a D that decodes, on both arms.
    for arm in (Arm.P_FULL, Arm.P_DELTA):
        handoffs = cells_of(plan, arm, Transport.TCP)
        assert {cell.batch for cell in handoffs if isinstance(cell, StallCell) and cell.purpose == "fit"} == {4, 16, 32}
        assert {cell.new_tokens for cell in handoffs if isinstance(cell, PrefillCell)} >= {16, 64, 1024, 8192}
    assert len({(cell.size_bytes, cell.blocks) for cell in transfer_cells(plan, Transport.TCP)}) == 30
    assert (plan.repeats.most, plan.repeats.half_width, plan.passes) == (5, 0.02, 2)


def test_the_full_plan_asks_the_cache_rate_question_on_every_arm_at_hand():
    plan = load_plan("full")
    for arm in (UNIFIED, FULL_TCP):
        cells = cells_of(plan, *arm)
        idle = {
            c.cached_tokens / 8192
            for c in cells
            if isinstance(c, PrefillCell) and c.cached_tokens + c.new_tokens == 8192
        }
        beside = {
            c.cached_tokens / 8192
            for c in cells
            if isinstance(c, StallCell) and c.batch == 8 and c.cached_tokens + c.new_tokens == 8192
        }
        for rate in (0.1, 0.3, 0.5, 0.7, 0.9):
            assert any(abs(found - rate) < 0.01 for found in idle)
            assert any(abs(found - rate) < 0.01 for found in beside)


def test_the_loads_of_the_full_plan_are_drawn_from_its_chat():
    plan = load_plan("full")
    loads = [cell for cell in cells_of(plan, *UNIFIED) if isinstance(cell, LoadCell)]
    assert [load.name for load in loads] == ["light", "middle", "heavy", "burst"]
    for load in loads:
        found = conversations_of(plan, load)
        assert len(found) == load.conversations
        assert found[-1].arrival_s == pytest.approx(load.conversations / load.rate_per_s, rel=0.6)
        assert load.purpose == "validation"


LOADS = """schema: ppdsim/plan/1
name: x
load:
  - {name: usual, rate_per_s: 1.0, conversations: 3}
  - {name: long, rate_per_s: 1.0, conversations: 3, chat: %s}
chat: %s
"""
CHAT = (
    "{kind: generated, conversations: 1, arrivals: {kind: poisson, rate_per_s: 1.0}, turns_mean: 1,"
    " first_turn_new_tokens: {kind: constant, value_tokens: %d}, later_turn_new_tokens: {kind: constant,"
    " value_tokens: 5}, output_tokens: {kind: constant, value_tokens: 5}, think_time: {kind: constant, value_s: 1.0}}"
)


def test_a_load_may_have_a_chat_of_its_own(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(LOADS % (CHAT % 9000, CHAT % 100))
    plan = load_plan(str(path))
    loads = [cell for cell in cells_of(plan, *UNIFIED) if isinstance(cell, LoadCell)]
    first = {cell.name: {c.turns[0].new_tokens for c in conversations_of(plan, cell)} for cell in loads}
    assert first == {"usual": {100}, "long": {9000}}
    # A folder knows a load by what it is: a run does not go on with another chat under the same name.
    path.write_text(LOADS % (CHAT % 9001, CHAT % 100))
    changed = load_plan(str(path))
    assert loads_of(changed)["usual"] == loads_of(plan)["usual"]
    assert loads_of(changed)["long"]["chat"] != loads_of(plan)["long"]["chat"]


def test_a_load_without_any_chat_is_named(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text((LOADS % (CHAT % 9000, "null")).replace("chat: null\n", ""))
    plan = load_plan(str(path))
    usual, long = (cell for cell in cells_of(plan, *UNIFIED) if isinstance(cell, LoadCell))
    assert len(conversations_of(plan, long)) == 3
    with pytest.raises(InputError, match="plan 'x': load 'usual' needs a 'chat' block"):
        conversations_of(plan, usual)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ((LOADS % (CHAT % 9, CHAT % 8)).replace("name: long", "name: usual"), "two loads are named 'usual'"),
        (
            (LOADS % (CHAT % 9, CHAT % 8)).replace("conversations: 3}", f"conversations: 3, chat: {CHAT % 7}}}", 1),
            "every load has its own chat, so no load reads the chat of the plan",
        ),
        ("schema: ppdsim/plan/1\nname: x\nrepeets: {}\n", "unknown key 'repeets'; did you mean 'repeats'"),
        ("schema: ppdsim/plan/1\n", "missing key 'name'"),
        ("schema: ppdsim/plan/1\nname: x\nappend: {new_tokens: ['64']}\n", "append.new_tokens.0"),
        ("schema: [\n", "not YAML"),
    ],
)
def test_a_malformed_plan_is_one_line(tmp_path, text, message):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_plan(str(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_unknown_plan_names_the_shipped_ones():
    with pytest.raises(UnknownNameError, match="did you mean 'quick'"):
        load_plan("quik")
