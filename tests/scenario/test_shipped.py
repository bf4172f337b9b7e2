"""Every scenario in scenarios/ loads, says what it asks, and gives its conversations."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ppdsim import library, scenario

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = [
    "cache-rate",
    "claude-code",
    "do-not-disaggregate",
    "link-speed",
    "mooncake-conversation",
    "mooncake-synthetic",
    "one-pair",
    "one-unified",
    "pd-ratio",
    "slow-and-fast",
]


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
    # What 'ppdsim scenarios' prints and what the file says of its run time are one thing.
    command = "crossover" if name == "cache-rate" else "simulate"
    assert f"# Run time: {loaded.run_time} with 'ppdsim {command} {name} -o out'.\n" in header


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cache-rate"])
def test_its_workload_gives_conversations(name: str) -> None:
    loaded = scenario.load(name)
    found = list(loaded.build_workload().conversations(np.random.default_rng(loaded.seed)))
    assert sum(len(conversation.turns) for conversation in found) >= 700


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
    blocks = [turn.block_ids for conversation in found for turn in conversation.turns]
    assert len(blocks) == 1_000
    assert len(found) == 1_000 - 187  # so many go on with an earlier prompt
    assert all(ids is not None for ids in blocks)
    assert len({ids[0] for ids in blocks if ids}) == 1  # one system prompt for all
    assert 330.0 < found[-1].arrival_s < 333.0


def test_every_shipped_slice_says_where_it_is_from() -> None:
    folder = REPOSITORY / "scenarios/data"
    told = (folder / "README.md").read_text()
    for path in folder.glob("*.gz"):
        row = next(line for line in told.splitlines() if line.startswith(f"| {path.name} |"))
        assert "Apache-2.0" in row
        assert path.stat().st_size < 100_000


def test_the_claude_code_slice_has_long_prompts_most_of_them_known() -> None:
    workload = scenario.load("claude-code").build_workload()
    found = list(workload.conversations(np.random.default_rng(0)))
    turns = [turn for conversation in found for turn in conversation.turns]
    assert len({str(conversation.conversation_id).partition("/")[0] for conversation in found}) == 60
    assert len(turns) == 1_351 - 2  # two have no answer
    assert max(turn.new_tokens + turn.output_tokens for turn in turns) <= 131_072
    assert np.median([turn.new_tokens for turn in turns]) > 50_000
    seen: set[int] = set()
    known = 0
    for turn in turns:
        assert turn.block_ids is not None
        known += sum(block in seen for block in turn.block_ids)
        seen.update(turn.block_ids)
    assert known / sum(len(turn.block_ids or ()) for turn in turns) > 0.85
