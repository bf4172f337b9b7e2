"""Gaps between tokens, rebuilt from the step log, against the time of every single token."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from des.costs import cost_model, fleet, talk
from des.scenes import scenes
from hypothesis import HealthCheck, given, settings

from ppdsim.des import itl
from ppdsim.des.cluster import Cluster
from ppdsim.des.gap_histogram import WIDTH
from ppdsim.des.itl import TokenGaps
from ppdsim.des.step_log import StepLog
from ppdsim.des.stepped_node import SteppedNode
from ppdsim.des.turns import OK, Turns
from ppdsim.routing import AlwaysP


def gaps_token_by_token(spec, conversations, policy) -> tuple[Turns, dict[int, list[float]], TokenGaps]:
    """Run step by step and note the time of every token; gaps are rebuilt after every second turn."""
    times = defaultdict(list)
    now = [0.0]
    done, forward = SteppedNode._step_done, SteppedNode._forward_done
    emit, begin = SteppedNode._emit_tokens, SteppedNode._begin

    def step_done(self, tick):
        before = list(self._batch)
        now[0] = tick.time
        done(self, tick)
        for turn in before:
            if not turns.finish_step[turn]:  # a stream that has ended is not kept waiting for its last token
                times[turn][-1] += self.log.late_s(self.steps, self.steps)[0]

    def forward_done(self, tick):
        now[0] = tick.time
        forward(self, tick)

    def emit_and_count(self):
        for turn in self._batch:
            times[turn].append(now[0])
        emit(self)

    def begin_again(self, turn):
        if turns.fill[turn] > turns.prompt[turn]:
            times[turn].append(now[0])
        begin(self, turn)

    turns = Turns(conversations, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SteppedNode, "_step_done", step_done)
        patch.setattr(SteppedNode, "_forward_done", forward_done)
        patch.setattr(SteppedNode, "_emit_tokens", emit_and_count)
        patch.setattr(SteppedNode, "_begin", begin_again)
        patch.setattr(itl, "GROUP_TURNS", 2)
        cluster = Cluster(replace(spec, per_step=True), turns, policy)
        cluster.run()
        cluster.gaps.close()
    # What D has before the router hands on the first token comes with it.
    gaps = {
        turn: np.diff(np.maximum([turns.t_first[turn], *mine], turns.t_first[turn])).tolist()
        for turn, mine in times.items()
    }
    return turns, gaps, cluster.gaps


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(scenes())
def test_rebuilt_gaps_are_the_gaps_of_every_token(scene):
    turns, gaps, rebuilt = gaps_token_by_token(*scene)
    for turn in range(turns.count):
        if turns.status[turn] == OK and turns.output[turn] > 1:
            assert len(gaps[turn]) == turns.output[turn] - 1
            assert rebuilt.max_s[turn] == pytest.approx(max(gaps[turn]), abs=1e-9)
            assert rebuilt.p99_s[turn] == pytest.approx(np.quantile(gaps[turn], 0.99), abs=1e-9)
        else:
            assert np.isnan(rebuilt.max_s[turn])
            assert np.isnan(rebuilt.p99_s[turn])
    every = sorted(gap for mine in gaps.values() for gap in mine)
    gaps_s, counts = rebuilt.every.columns()
    assert np.all(counts > 0)
    found = np.repeat(gaps_s, counts.astype(int))
    # A bin stands for the mean of its gaps.
    np.testing.assert_allclose(np.sort(found), every, rtol=WIDTH, atol=1e-9)
    assert np.sum(found) == pytest.approx(sum(every), abs=1e-9)


def test_a_retracted_stream_feels_its_pause_as_one_gap():
    spec = fleet("U", cost_model(page=1), pool=560, schedule_conservativeness=0.0)
    talks = [talk("a", 0.0, (200, 140)), talk("b", 0.001, (200, 140))]
    turns, gaps, rebuilt = gaps_token_by_token(spec, talks, AlwaysP())
    # 400 prompts and 160 free: both cannot have their 139 further tokens at once.
    assert set(turns.pauses) == {1}
    alone = 50 * 2.0**-8  # a goes on for more than 50 steps of at least a floor each, while b waits
    assert rebuilt.max_s[1] == pytest.approx(max(gaps[1]))
    assert rebuilt.max_s[1] > alone
    assert rebuilt.max_s[0] < 0.2 * alone


def test_a_log_gives_the_end_of_every_step():
    log = StepLog()
    log.add(1.0, 3, 0.5, 0.25)
    log.add(10.0, 1, 2.0, 0.0)
    # n (p + h n): 0.75, 2, 3.75.
    np.testing.assert_array_equal(log.ends_s(0, 4), [np.nan, 1.75, 3.0, 4.75, 12.0])
    np.testing.assert_array_equal(log.ends_s(3, 4), [4.75, 12.0])
    log.delay(0.5)
    np.testing.assert_array_equal(log.late_s(1, 4), [0.0, 0.0, 0.0, 0.5])
    np.testing.assert_array_equal(log.late_s(1, 3), [0.0, 0.0, 0.0])


def test_a_launch_that_outlasts_the_step_delays_its_tokens_and_not_the_append():
    """Forward 2^-7 + 2^-14 a token, of which a step of 2^-8 hides as much; launch 2.5 steps.

    The gap of the append is that of a forward alone less what the launch takes beyond a step, and a hidden forward has
    a step less: the tokens of the step before it come half a step late.
    """
    model = cost_model(
        prefill={"attention_s_per_token2": 0.0, "kv_read_s_per_token": 0.0},
        decode={"row_s": 0.0, "context_s_per_token": 0.0},
        stall={"launch_s": 2.5 * 2.0**-8, "handoff_s": 0.0},
    )
    spec = fleet("U", model)
    talks = [talk("a", 0.0, (64, 10)), talk("b", 0.02, (64, 2))]
    turns, gaps, _ = gaps_token_by_token(spec, talks, AlwaysP())
    step = 2.0**-8
    alone, forward, late = 3 * step, 2 * step, step / 2
    assert turns.t_first[0] - turns.t_prefill_start[0] == pytest.approx(alone)
    assert turns.t_first[1] - turns.t_prefill_start[1] == pytest.approx(forward)
    assert sorted(gaps[0])[-2:] == pytest.approx(sorted([step + late, forward + step - late]))
    assert turns.stall[1] == pytest.approx(forward - late)


@pytest.mark.parametrize("per_step", [False, True])
def test_rebuilding_in_groups_changes_nothing_and_forgets_steps(per_step, monkeypatch):
    """Answers of 3 to 199 tokens overlap, on nodes that also retract, so groups share steps."""
    spec = fleet("P D", cost_model(page=16), pool=900, num_reserved_decode_tokens=0, per_step=per_step)
    talks = [talk(i, 0.02 * i, (100, 3 + 7 * i % 197)) for i in range(40)]

    def run(group: int) -> tuple[Cluster, int]:
        monkeypatch.setattr(itl, "GROUP_TURNS", group)
        cluster = Cluster(spec, Turns(talks), AlwaysP())
        cluster.run()
        rows = len(cluster.decode[1].log)
        cluster.gaps.close()
        return cluster, rows

    (whole, all_rows), (parts, few_rows) = run(10**6), run(3)
    assert whole.decode[1].retractions > 0
    assert few_rows < 0.3 * all_rows
    np.testing.assert_array_equal(whole.gaps.max_s, parts.gaps.max_s)
    np.testing.assert_array_equal(whole.gaps.p99_s, parts.gaps.p99_s)
    for one, other in zip(whole.gaps.every.columns(), parts.gaps.every.columns(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_log_forgets_while_somebody_still_looks_at_its_columns() -> None:
    """A profiler of frames, as dask's workers have, keeps views alive that nobody here holds."""
    log = StepLog()
    for number in range(3):
        log.add(float(number), 2, 0.25, 0.0)
        log.delay(0.125)
    held = (memoryview(log._until), memoryview(log._late))
    expected = log.ends_s(5, 6)
    log.forget(5)
    assert len(log) == 1
    np.testing.assert_array_equal(log.ends_s(5, 6), expected)
    np.testing.assert_array_equal(log.late_s(5, 6), [0.0, 0.125])
    assert [len(view) for view in held] == [3, 3]
