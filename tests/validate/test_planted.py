"""N* and decisions on a machine whose answers are known by construction: no launch hides, so S_D is the forward."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fit.grids import CACHED, NEW, TRUTH, rows, write

from ppdsim import measurements
from ppdsim.accuracy import ANOTHER_RUN, HELD_OUT, LEFT_OUT
from ppdsim.fit.run import fit_profile
from ppdsim.types import Arm, Transport
from ppdsim.validate.decisions import BATCHES, GAMMAS, decisions
from ppdsim.validate.n_star import n_star_checks
from ppdsim.validate.unseen import unseen

MACHINE = replace(TRUTH, stall=replace(TRUTH.stall, launch_s=0.0))
HELD = (1024, 256)
DRAWN_S = np.linspace(-2e-3, 2e-3, 41)
"""What the handshake of each draw is longer than the machine's [s]."""


def planted(*, n_star: float | None = None, noise: float = 0.0):
    """Return the machine's rows, (1024, 256) held out; with `n_star` hand-offs are as slow as gives every cell that."""
    out = []
    for plain in rows(MACHINE, noise=noise, repeats=4 if noise else 2):
        at = (plain.get("cached_tokens"), plain.get("new_tokens"))
        row = {**plain, "purpose": "validation" if at == HELD else "fit"}
        if row["kind"] == "interference":
            context = row["prompt_tokens"] + row["generated_tokens"]
            row["itl_base_s"] = float(MACHINE.decode.step_s(float(row["batch"]), row["batch"] * context))
        if row["kind"] == "prefill" and row["arm"] != "append-d" and n_star is not None:
            cached, new = map(float, at)
            row["ttft_s"] = float(MACHINE.append_ttft_s(cached, new)) + n_star * forward_s(cached, new)
        out.append(row)
    return out


def forward_s(cached: float, new: float) -> float:
    return float(MACHINE.prefill.seconds(new, cached, 8192))


def true_n_star(cached: float, new: float, against: str) -> float:
    """Return N* of the machine in closed form."""
    arm, transport = against.split(":")
    slower = MACHINE.ttft_s(Arm(arm), Transport(transport), cached, new) - MACHINE.append_ttft_s(cached, new)
    return float(slower) / forward_s(cached, new)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return measurements.read(write(tmp_path_factory.mktemp("own") / "m", planted()))


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """Another run, on which every append breaks even at 5 streams."""
    return measurements.read(write(tmp_path_factory.mktemp("five") / "m", planted(n_star=5.0), id="elsewhere"))


@pytest.fixture(scope="module")
def exact(own):
    """The machine as a profile: its own numbers, no drift, and draws that differ by the handshakes alone, `DRAWN_S`."""
    fitted = fit_profile(own, draws=len(DRAWN_S))

    def of_machine(record):
        curve = MACHINE.handoffs[record.arm, record.transport] if record.arm else getattr(MACHINE, record.kind)
        truth = {name: float(value) for name, value in curve.parameter_values().items()}
        rows = [
            tuple(truth[name] + (moved_s if name == "handshake_s" else 0.0) for name in record.draw_names)
            for moved_s in DRAWN_S
        ]
        parameters = tuple(
            p.model_copy(update=dict.fromkeys(("value", "low", "high"), truth[p.name])) for p in record.parameters
        )
        return record.model_copy(update={"parameters": parameters, "draws": tuple(rows)})

    return fitted.model_copy(update={"curves": tuple(map(of_machine, fitted.curves)), "drift": ()})


def test_the_measured_n_star_is_the_closed_form_at_every_cell(own, exact):
    found = n_star_checks(exact, own, unseen(exact, own))
    assert [check.scope for check in found].count(HELD_OUT) == 2
    assert [check.scope for check in found].count(LEFT_OUT) == 2 * (len(CACHED) * len(NEW) - 1)
    for check in found:
        truth = true_n_star(check.fixed_tokens, check.new_tokens, check.against)
        assert check.measured == pytest.approx(truth)
        assert check.predicted == pytest.approx(truth, rel=0.4 if check.scope == LEFT_OUT else 1e-6)


def test_the_predicted_interval_is_that_of_the_draws(own, five, exact):
    for run in (own, five):
        for check in n_star_checks(exact, run, unseen(exact, run)):
            if check.scope == LEFT_OUT:
                continue
            cached, new = check.fixed_tokens, check.new_tokens
            moved = np.quantile(DRAWN_S, [0.05, 0.95], method="nearest") / forward_s(cached, new)
            expected = np.maximum(true_n_star(cached, new, check.against) + moved, 0.0)
            assert (check.predicted_low, check.predicted_high) == pytest.approx(tuple(expected), rel=1e-6)
            assert check.intervals_meet == (run is own or expected[0] <= 5.0 <= expected[1])


def test_the_measured_interval_is_that_of_the_repeats(tmp_path, exact):
    """Twice the noise, twice the interval; it holds the truth as often as 90 % should."""
    widths, inside = [], []
    for noise in (0.01, 0.02):
        run = measurements.read(write(tmp_path / f"{noise}", planted(noise=noise), id=f"noise-{noise}"))
        found = [c for c in n_star_checks(exact, run, unseen(exact, run)) if c.measured is not None]
        widths.append(np.median([(c.measured_high - c.measured_low) / c.measured for c in found]))
        truths = [true_n_star(c.fixed_tokens, c.new_tokens, c.against) for c in found]
        inside += [c.measured_low <= truth <= c.measured_high for c, truth in zip(found, truths, strict=True)]
    assert widths[1] / widths[0] == pytest.approx(2.0, rel=0.3)
    assert 0.75 <= np.mean(inside) <= 1.0


def test_wrong_decisions_and_their_regret_are_counted_as_planted(five, exact):
    """At 5 streams everywhere an arm is right where the profile's own N* lies on the same side of gamma N."""
    weights = [gamma * streams for gamma in GAMMAS for streams in BATCHES]
    for row in decisions(exact, five, unseen(exact, five)):
        assert row.scope == ANOTHER_RUN
        if row.first != "append-d":
            continue
        assert row.compared == len(CACHED) * len(NEW) * len(weights)
        wrong = [
            abs(5.0 - weight) * forward_s(cached, new)
            for cached in CACHED
            for new in NEW
            for weight in weights
            if (weight > 5.0) != (weight > true_n_star(cached, new, row.second))
        ]
        assert row.right == row.compared - len(wrong)
        assert row.regret_mean_s == pytest.approx(np.mean(wrong))
        assert row.regret_max_s == pytest.approx(max(wrong))


def test_held_out_cells_are_decided_by_the_profile_as_it_is(own, exact):
    rows = {
        (row.scope, row.second): row for row in decisions(exact, own, unseen(exact, own)) if row.first == "append-d"
    }
    held = rows[HELD_OUT, "p-full:tcp"]
    assert (held.compared, held.right) == (len(GAMMAS) * len(BATCHES),) * 2
    assert rows[LEFT_OUT, "p-full:tcp"].compared == (len(CACHED) * len(NEW) - 1) * len(GAMMAS) * len(BATCHES)
