"""What an unknown name is taken for: by prefix, last part of the key and spelling; never other hardware."""

from __future__ import annotations

import pytest

from ppdsim.errors import HARDWARE, MOST_SUGGESTED, misspelt, nearest, unknown
from ppdsim.scenario import json_schema
from ppdsim.schema_keys import dotted_keys

KEYS = dotted_keys(json_schema())
PROFILES = [
    "h100x2_llama-3.1-8b_sglang-0.5.17",
    "h200x1_llama-3.1-8b_sglang-0.5.17",
    "h200x2_llama-3.1-8b_sglang-0.5.17",
]
GPUS = ["A100-80G", "H100-PCIe", "H100-SXM", "H200", "L40S"]
LINKS = ["nvlink3", "nvlink4", "rdma-100g", "rdma-200g", "rdma-400g", "tcp-10g", "tcp-100g"]


@pytest.mark.parametrize(
    ("name", "valid", "meant"),
    [
        ("gamma", KEYS, ["routing.gamma", "crossover.gamma"]),
        ("rate_per_s", KEYS, ["workload.arrivals.rate_per_s"]),
        ("count", KEYS, ["fleet.N.count"]),
        ("gama", KEYS, ["routing.gamma", "crossover.gamma"]),
        ("disaggregation_decode_enable", KEYS, ["disaggregation_decode_enable_radix_cache"]),
        ("always", ["always-d", "always-p", "threshold"], ["always-d", "always-p"]),
        ("ALWAYS-D", ["always-d", "always-p"], ["always-d"]),
        ("prefil", ["prefill", "decode"], ["prefill"]),
        ("link_radix", ["page_size", "radix_of_the_link"], ["radix_of_the_link"]),
        ("seed", ["seed", "seeds"], ["seeds"]),
        ("seed", ["seed"], []),
        ("q", ["quick", "quiet"], []),
        ("nothing-like-it", KEYS, []),
        ("", ["a", "b"], []),
    ],
)
def test_what_a_name_is_taken_for(name: str, valid: list[str], meant: list[str]) -> None:
    said = nearest(name, valid)
    assert said == (f"; did you mean {' or '.join(map(repr, meant))}?" if meant else "")


@pytest.mark.parametrize(
    ("kind", "name", "valid", "meant"),
    [
        ("GPU", "H100", GPUS, ["H100-PCIe", "H100-SXM"]),
        ("GPU", "H100-SMX", GPUS, ["H100-SXM"]),
        ("GPU", "h200", GPUS, ["H200"]),
        ("GPU", "H20", GPUS, []),
        ("GPU", "H800", GPUS, []),
        ("GPU", "A100-40G", GPUS, []),
        ("GPU", "L40", GPUS, []),  # half the FLOP/s
        ("link", "rdma-20g", LINKS, []),
        ("link", "nvlink5", LINKS, []),
        ("link", "rdma_200g", LINKS, ["rdma-200g"]),
        ("link", "nvlink", LINKS, ["nvlink3", "nvlink4"]),
        ("profile", "h100x2_llama-3.1-8b_sglang-0.5.16", PROFILES, ["h100x2_llama-3.1-8b_sglang-0.5.17"]),
        ("profile", "h200x4_llama-3.1-8b_sglang-0.5.17", PROFILES, []),
        ("profile", "h200x2_llama-3.1-70b_sglang-0.5.17", PROFILES, []),
        ("profile", "b200", PROFILES, []),
    ],
)
def test_no_hardware_stands_for_other_hardware(kind: str, name: str, valid: list[str], meant: list[str]) -> None:
    said = str(unknown(kind, name, valid))
    assert ", ".join(sorted(valid)) in said
    assert said.partition("; did you mean ")[2] == (f"{' or '.join(map(repr, meant))}?" if meant else "")


def test_every_kind_of_hardware_that_is_looked_up_is_treated_as_such() -> None:
    assert set(HARDWARE) == {"GPU", "link", "profile"}


@pytest.mark.parametrize(
    ("name", "present", "known", "meant"),
    [
        ("new_tokens", ["cached_tokens", "kind"], [], None),
        ("new_tokens", ["cached_tokens", "new_token"], [], "new_token"),
        ("new_tokens", ["newTokens"], [], "newTokens"),
        ("ttft_s", ["ttft"], [], "ttft"),
        ("input_length", ["output_length"], [], None),
        ("hash_ids", ["hash_id_scope"], [], None),
        ("new_tokens", ["new_tokens"], [], None),
        ("cached_tokens", ["cached_token"], ["cached_token"], None),
        ("x", [""], [], None),
    ],
)
def test_a_missing_column_is_seen_only_in_another_spelling(name, present, known, meant) -> None:
    assert misspelt(name, present, known=known) == (f"; did you mean {meant!r}?" if meant else "")


def test_few_names_are_suggested_at_once() -> None:
    names = [f"block_{letter}.size" for letter in "abcdefgh"]
    assert nearest("size", names).count("block_") <= MOST_SUGGESTED
