"""Every what-if that ships: its answer is its claim, and the premise turned round turns the answer round."""

from __future__ import annotations

from functools import cache

import pytest

from ppdsim import library, scenario, whatif
from ppdsim.comparison import Verdict

LONG_PROMPTS = (
    "workload.first_turn_new_tokens.median_tokens=4000",
    "workload.later_turn_new_tokens.median_tokens=600",
)
NAMES = {
    "pd-ratio",
    "do-not-disaggregate",
    "link-speed",
    "slow-and-fast",
    "claude-code",
    "mooncake-conversation",
    "mooncake-synthetic",
}


@cache
def found(name, *settings, seeds=3):
    return whatif.run(scenario.load(name, settings), seed=0, seeds=seeds).comparison


def test_the_list_is_complete():
    assert {name for name in library.installed("scenario") if scenario.load(name).alternatives} == NAMES


@pytest.mark.parametrize(
    ("name", "settings", "start"),
    [
        ("pd-ratio", ("slo.itl_max_ms=null",), "Disaggregation makes no difference: "),
        ("pd-ratio", ("transport=tcp",), "Do not disaggregate: "),
        ("do-not-disaggregate", ("transport=nvlink", "slo.ttft_ms=800"), "Disaggregation makes no difference: "),
        ("do-not-disaggregate", ("transport=nvlink", *LONG_PROMPTS), "Disaggregate: 3P_1D keeps"),
        ("mooncake-conversation", (), "Disaggregate: 5P_3D keeps"),
        ("mooncake-conversation", ("slo.itl_max_ms=null",), "Undecided: "),
        ("mooncake-synthetic", ("transport=tcp",), "Do not disaggregate: "),
    ],
)
def test_the_answer_follows_from_the_premise(name, settings, start):
    # These differ by chance more than the others do.
    close = name == "mooncake-conversation" or LONG_PROMPTS[0] in settings or settings == ("slo.itl_max_ms=null",)
    comparison = found(name, *settings, seeds=5 if close else 3)
    assert comparison.answer[0].startswith(start), comparison.answer[0]
    assert "90 % intervals" in comparison.answer[0]


@pytest.mark.parametrize("name", ["pd-ratio", "mooncake-synthetic", "link-speed", "slow-and-fast"])
def test_the_answer_is_the_one_that_the_page_shows(name, repository):
    """do-not-disaggregate is shown whole and run by tests/docs; the others take longer and have tests above."""
    verdict = found(name, seeds=None).answer[0].split(" keeps ")[0]
    assert f"| `ppdsim simulate {name}` | {verdict} |" in (repository / "docs/how-to/what-if.md").read_text()


def test_the_page_lists_every_what_if(repository):
    page = (repository / "docs/how-to/what-if.md").read_text()
    assert all(f"| `ppdsim simulate {name}` |" in page for name in NAMES)


def test_a_faster_link_is_seen_in_ttft_and_in_the_routing():
    comparison = found("link-speed", seeds=None)
    ttft_s = [each.ttft_mean_s.mean for each in comparison.alternatives]
    appended = [each.appended.mean for each in comparison.alternatives]
    assert ttft_s == sorted(ttft_s, reverse=True)
    assert [round(share, 2) for share in appended] == sorted((round(share, 2) for share in appended), reverse=True)
    assert appended[0] > 2.0 * appended[-1] > 0.0
    assert comparison.difference("tcp-1GBps", "nvlink-measured").verdict is Verdict.WORSE
    assert any(note.startswith("tcp-1GBps: assumed: KV moves at 1 GB/s") for note in comparison.notes)


def test_where_all_kv_must_travel_a_slow_link_carries_next_to_nothing():
    slow = found("link-speed", "routing.policy=always-p").alternatives[0]
    assert slow.attainment.mean < 0.2 < 0.7 < found("link-speed", seeds=None).alternatives[0].attainment.mean


def test_the_slow_machines_should_prefill():
    comparison = found("slow-and-fast", seeds=None)
    assert comparison.difference("slow-P_fast-D", "fast-P_slow-D").verdict is Verdict.BETTER
    assert abs(comparison.difference("slow-P_fast-D", "all-fast").attainment.mean) < 0.02
    assert any("h100x2_llama-3.1-8b_sglang-0.5.17_derived is derived" in note for note in comparison.notes)


def test_without_a_limit_on_tpot_it_does_not_matter_which_machines_are_slow():
    assert found("slow-and-fast", "slo.tpot_ms=null", seeds=5).answer[0].startswith("No difference: ")


def test_coding_agents_gain_from_appends_and_the_clipping_is_said():
    comparison = found("claude-code", seeds=2)
    for other in ("2P_2D", "4U"):
        assert comparison.difference("2P_2pD-cost-aware", other).attainment.mean > 0.02
    assert "405 of 1,349 prompts clipped to the context length: 65,213,178 tokens left out" in comparison.notes


def test_many_coding_agents_at_once_overload_the_prefill_machines():
    comparison = found("claude-code", "workload.rate_scale=12", seeds=2)
    assert comparison.difference("4U", "2P_2D").attainment.mean > 0.1
    assert "OVERLOADED" in comparison.alternatives[0].labels
