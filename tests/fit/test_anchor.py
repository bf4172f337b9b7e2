"""A few probes of another run re-fit the launch floor, and only that."""

from __future__ import annotations

import pytest

from ppdsim import compose, profile
from ppdsim.errors import InputError
from ppdsim.fit.anchor import anchor
from ppdsim.points import parse_point
from ppdsim.predict import predict
from ppdsim.types import Tag

SHIPPED = "h200x2_llama-3.1-8b_sglang-0.5.17"


@pytest.fixture(scope="module")
def shipped(repository):
    return profile.load(repository / "calibration/profiles" / f"{SHIPPED}.json")


def probes(tmp_path, model, factor=1.0):
    lines = ["cached_tokens,new_tokens,ttft_s"]
    for cached, new in ((0, 64), (1024, 128), (4096, 64), (0, 8192)):
        lines.append(f"{cached},{new},{factor * model.append_ttft_s(float(cached), float(new)):.9f}")
    path = tmp_path / "probes.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("floor_s", [8e-3, 12e-3, 16e-3])
def test_the_floor_of_the_other_run_is_found(shipped, tmp_path, floor_s):
    slower = compose.with_floor(compose.central(shipped), floor_s)
    anchored = anchor(shipped, probes(tmp_path, slower))
    assert compose.central(anchored).prefill.floor_s == pytest.approx(floor_s, rel=1e-4)
    assert compose.central(anchored).prefill.token_s == compose.central(shipped).prefill.token_s
    assert compose.central(anchored).handoffs == compose.central(shipped).handoffs


def test_an_anchored_floor_narrows_the_interval_for_that_run(shipped, tmp_path):
    anchored = anchor(shipped, probes(tmp_path, compose.with_floor(compose.central(shipped), 12e-3)))
    small = parse_point({"kind": "prefill", "cached_tokens": 0, "new_tokens": 64}, "here")
    (before,), (after,) = predict(shipped, [small]), predict(anchored, [small])
    assert after.high_s - after.low_s < 0.5 * (before.high_s - before.low_s)
    assert anchored.drift_of("floor_s").tag is Tag.MEASURED
    assert "anchored" in anchored.provenance
    # Anchoring again replaces the anchor, it does not stack.
    assert len(anchored.drift) == len(shipped.drift)


def test_probes_that_saw_two_floors_leave_the_interval_both(shipped, tmp_path):
    model = compose.central(shipped)
    path = tmp_path / "probes.csv"
    seen = [float(compose.with_floor(model, floor).append_ttft_s(0.0, 64.0)) for floor in [9e-3] * 20 + [15e-3] * 19]
    path.write_text("\n".join(["cached_tokens,new_tokens,ttft_s", *(f"0,64,{ttft}" for ttft in seen)]) + "\n")
    found = anchor(shipped, path).drift_of("floor_s")
    assert found.low < 9.1e-3
    assert found.high == pytest.approx(15e-3, rel=0.1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cached_tokens,new_tokens,ttft_s\n0,8192,0.2\n", "no probe shows the launch floor"),
        ("cached_tokens,new_tokens,ttft_s\n0,64,5.0\n", "no launch floor between 2 and 60 ms"),
        ("cached_tokens,new_tokens,ttft_s\n", "no probes"),
        ("cached_tokens,new_tokens\n0,64\n", "column 'ttft_s' is missing"),
        ("kind,arm,cached_tokens,new_tokens,ttft_s\nprefill,p-full,0,64,0.02\n", "no probes"),
    ],
)
def test_probes_that_say_nothing_are_refused(shipped, tmp_path, text, words):
    path = tmp_path / "probes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        anchor(shipped, path)
