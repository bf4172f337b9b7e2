"""The capacity of each alternative: found alone, ranked by what a GPU carries."""

from __future__ import annotations

import json

import pytest

from ppdsim.capacity import capacity, capacity_of_each, save_each, table
from ppdsim.errors import InputError
from ppdsim.scenario import load

SMALL = (
    "workload.conversations=30",
    "slo={ttft_ms: 1000, tpot_ms: 30}",
    "alternatives=[{name: pair, set: {fleet.0.count: 1, fleet.1.count: 1}}, {name: three, set: {fleet.1.count: 1}}]",
)


@pytest.fixture(scope="module")
def found():
    return capacity_of_each(load("pd-ratio", SMALL), seed=0, seeds=1, tolerance=0.5)


def test_each_alternative_carries_what_it_carries_alone(found):
    loaded = load("pd-ratio", SMALL)
    alone = {
        each.name: capacity(variant, seed=0, seeds=1, tolerance=0.5).rate_per_s
        for each, variant in zip(loaded.alternatives, loaded.variants, strict=True)
    }
    assert {each.name: each.capacity.rate_per_s for each in found.alternatives} == alone


def test_the_most_a_gpu_comes_first_and_the_table_has_a_line_each(found, tmp_path):
    rates = [each.capacity.rate_per_gpu_per_s for each in found.alternatives]
    assert rates == sorted(rates, reverse=True)
    assert {each.capacity.gpus for each in found.alternatives} == {2, 3}
    text = table(found)
    assert text.startswith(f"{found.alternatives[0].name} carries most: ")
    assert all(f"\n{each.name} " in text for each in found.alternatives)
    assert [each["name"] for each in json.loads(save_each(found, tmp_path).read_text())["alternatives"]] == [
        each.name for each in found.alternatives
    ]


def test_the_capacity_of_a_scenario_with_alternatives_is_not_that_of_its_base():
    with pytest.raises(InputError, match="has alternatives: ask for the capacity of each"):
        capacity(load("pd-ratio", SMALL), seed=0)
