"""Engine presets: what a release lacks is refused or switched off."""

from __future__ import annotations

import pytest

from ppdsim.des.run import resolve
from ppdsim.errors import ScenarioError
from ppdsim.scenario import load
from ppdsim.types import Arm, Transport


def early_shares(*settings: str) -> set[float]:
    spec, _ = resolve(load("one-pair", settings))
    return {float(curve.early_share) for node in spec.nodes for curve in node.model.handoffs.values()}


@pytest.mark.parametrize("engine", ["sglang-0.5.5.post3", "sglang-0.5.14"])
def test_before_0_5_15_nothing_of_the_prefix_is_sent_early(engine: str) -> None:
    assert early_shares(f"engine={engine}", "disaggregation_decode_enable_radix_cache=false") == {0.0}


def test_from_0_5_15_the_measured_share_is_sent_early_unless_it_is_switched_off() -> None:
    assert early_shares("engine=sglang-0.5.15") == early_shares() != {0.0}
    assert early_shares("engine=sglang-0.5.15", "disagg_prefill_early_send_cached_prefix=false") == {0.0}


def test_an_idle_hand_off_without_early_send_is_later_by_the_wire_that_the_forward_hid() -> None:
    spec, _ = resolve(load("one-pair"))
    model, asked = spec.nodes[0].model, (Arm.P_FULL, Transport.RDMA, 8192, 1024)
    curve, forward_s = model.handoff(*asked[:2]), float(model.prefill.seconds(1024, 8192, model.chunked_prefill_size))
    early_s = float(curve.wire_s(curve.early_share * 8192, 0))
    # The early share of 8192 tokens is on the wire for less than the forward, so all of it was hidden.
    assert 0.0 < early_s < forward_s
    later_s = model.without_early_send().handoff_ttft_s(*asked) - model.handoff_ttft_s(*asked)
    assert later_s == pytest.approx(early_s, rel=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ("engine=sglang-0.5.11", "disaggregation_decode_enable_radix_cache=true"),
            "the first that does is sglang-0.5.12",
        ),
        (
            (
                "engine=sglang-0.5.14",
                "disagg_prefill_early_send_cached_prefix=true",
                "disaggregation_decode_enable_radix_cache=false",
            ),
            "is sglang-0.5.15",
        ),
        (("engine=sglang-0.5.71",), "sglang-0.5.17"),
    ],
)
def test_what_an_engine_does_not_have_is_refused(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load("one-pair", settings)
