"""Every key of every kind of trace x every command that plays one: it changes what is played."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ppdsim import scenario
from ppdsim.capacity.load import load_of
from ppdsim.crossover.traffic import traffic_of
from ppdsim.errors import PpdsimError
from ppdsim.simulation.run import conversations_of, simulate
from ppdsim.sweep.plan import make_plan


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


MOONCAKE = lines(
    [
        {"timestamp": 1000 * (i // 3), "input_length": 1400, "output_length": 5 * (i != 7), "hash_ids": [i, 90 + i, 8]}
        for i in range(12)
    ]
)
TEXTS = {
    "mooncake": MOONCAKE,
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    + "".join(f"2023-11-16 18:15:{10 + i}.68,900,{5 * (i != 3)}\n" for i in range(6)),
    "conversations": lines(
        [
            {"conversation_id": i, "turn": 0, "arrival_s": 2 * i, "new_tokens": 900, "output_tokens": 5 * (i != 3)}
            for i in range(6)
        ]
    ),
    "agent-sessions": lines(
        [
            {"id": f"s{i}", "block_size": 64, "requests": [{"in": 640, "out": 5 * (i != 3), "hash_rle": [0, 10]}]}
            for i in range(6)
        ]
    ),
}
COMMON = {"rate_scale": "4", "limit": "2", "strict": "true"}
OWN = {
    "mooncake": {"timestamp_unit": "s", "spread_arrivals": "false", "block_tokens": "700"},
    "agent-sessions": {"context_length": "600"},
}
KEYS = [(kind, key, value) for kind in TEXTS for key, value in (COMMON | OWN.get(kind, {})).items()]
SETTING = ("transport=tcp", "crossover.arms=[{arm: append-d, transport: none}, {arm: p-full, transport: tcp}]")


def test_every_key_of_every_kind_has_a_case():
    specs = {
        spec["properties"]["kind"].get("const") or tuple(spec["properties"]["kind"]["enum"]): set(spec["properties"])
        for name, spec in scenario.json_schema()["$defs"].items()
        if name.endswith("Spec") and "file" in spec["properties"]
    }
    known = {kind: keys for kinds, keys in specs.items() for kind in ((kinds,) if isinstance(kinds, str) else kinds)}
    assert {kind: {key for own, key, _ in KEYS if own == kind} | {"kind", "file"} for kind in TEXTS} == known


def played(folder: Path, kind: str, *texts: str) -> tuple[object, ...]:
    """Return what simulate, capacity and crossover make of a trace, or the line that refuses it."""
    path = folder / "trace"
    path.write_text(TEXTS[kind])
    loaded = scenario.load("one-pair", [*SETTING, *texts], trace=path).asking(())
    grid = loaded.crossover
    assert grid is not None
    try:
        traffic = traffic_of(loaded, grid, seed=0)
        load = load_of(loaded)
        again = load.scenario_at(load.own_rate_per_s)
        return (
            simulate(loaded, seed=0).turns["t_first_token_s"].tolist(),
            [*conversations_of(again, 0)],
            (traffic.arrivals_s.tolist(), traffic.output_tokens, str(traffic.follow_ups)),
        )
    except PpdsimError as refused:
        return (str(refused),) * 3


SAME = {
    (
        "agent-sessions",
        "context_length",
        2,
    ): "the arrivals, answers and shared blocks of these prompts stay as they are",
}
"""(kind, key, place in `played`) that may stay as it is, and why."""


@pytest.mark.parametrize("kind", TEXTS)
def test_every_command_says_what_the_reader_did_with_the_file(kind, tmp_path):
    path = tmp_path / "trace"
    path.write_text(TEXTS[kind])
    loaded = scenario.load("one-pair", SETTING, trace=path).asking(())
    assert loaded.crossover is not None
    dropped = f"1 of {12 if kind == 'mooncake' else 6} requests of the trace have no answer (0 output tokens): dropped"
    assert dropped in simulate(loaded, seed=0).notes
    assert dropped in load_of(loaded).notes
    assert dropped in traffic_of(loaded, loaded.crossover, seed=0).notes
    assert dropped in make_plan("one-pair", (), seeds=1, trace=path).notes


@pytest.mark.parametrize(("kind", "key", "value"), KEYS)
def test_a_key_changes_what_every_command_plays(kind, key, value, tmp_path):
    before = played(tmp_path, kind)
    after = played(tmp_path, kind, f"workload.{key}={value}")
    for place, (one, other) in enumerate(zip(before, after, strict=True)):
        if (kind, key, place) not in SAME:
            assert one != other, ("simulate", "capacity", "crossover")[place]
