"""Every scenario in scenarios/ loads, says what it asks, and gives its conversations."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ppdsim import library, scenario

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ["cache-rate", "mooncake-conversation", "one-pair", "one-unified"]


def test_the_list_is_complete() -> None:
    assert sorted(path.stem for path in (REPOSITORY / "scenarios").glob("*.yaml")) == NAMES
    assert set(NAMES) <= set(library.installed("scenario"))


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_and_has_a_header(name: str) -> None:
    loaded = scenario.load(name)
    assert loaded.name == name
    assert loaded.question
    header = (REPOSITORY / "scenarios" / f"{name}.yaml").read_text().split("schema:")[0]
    assert re.match(r"# Question: .*\?\n(# .*\n)*# Run time: ", header)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cache-rate"])
def test_its_workload_gives_conversations(name: str) -> None:
    loaded = scenario.load(name)
    found = list(loaded.build_workload().conversations(np.random.default_rng(loaded.seed)))
    assert len(found) >= 200


def test_the_crossover_grid_is_the_one_of_the_question() -> None:
    grid = scenario.load("cache-rate").crossover
    assert grid is not None
    assert grid.total_tokens == (2_048, 8_192, 32_768)
    assert {(choice.arm.value, choice.transport.value) for choice in grid.arms} == {
        ("append-d", "none"),
        ("p-full", "nvlink"),
        ("p-full", "tcp"),
        ("p-delta", "tcp"),
    }
    assert all(0.0 <= rate < 1.0 for rate in grid.cache_rates)


def test_the_shipped_slice_has_shared_prefixes_by_block() -> None:
    found = list(scenario.load("mooncake-conversation").build_workload().conversations(np.random.default_rng(0)))
    blocks = [conversation.turns[0].block_ids for conversation in found]
    assert len(found) == 1_000
    assert all(ids is not None for ids in blocks)
    assert len({ids[0] for ids in blocks if ids}) == 1  # one system prompt for all
    assert 330.0 < found[-1].arrival_s < 333.0
