"""Rows without an answer: one rule for every format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ppdsim.errors import WorkloadError
from ppdsim.workload import TRACES, Conversations, TurnSpec


def lines(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(each) + "\n" for each in rows)


def agent(out: int, *, think_time: float = 0.0) -> dict[str, object]:
    return {"in": 640, "out": out, "think_time": think_time, "hash_ids": list(range(10))}


TEXTS = {
    "mooncake": lines(
        *(
            {"timestamp": 100 * i, "input_length": 900, "output_length": out, "hash_ids": [i, 9]}
            for i, out in enumerate((5, 0, 7))
        )
    ),
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    + "".join(f"2023-11-16 18:15:4{i}.68,900,{out}\n" for i, out in enumerate((5, 0, 7))),
    "conversations": lines(
        *(
            {"conversation_id": i, "turn": 0, "arrival_s": i, "new_tokens": 900, "output_tokens": out}
            for i, out in enumerate((5, 0, 7))
        )
    ),
    "agent-sessions": lines(
        *({"id": f"s{i}", "block_size": 64, "requests": [agent(out)]} for i, out in enumerate((5, 0, 7)))
    ),
}
"""Three requests a format, the second one without an answer."""
WHERE = {"mooncake": "trace:2:", "azure": "trace:3:", "conversations": "trace:2:", "agent-sessions": "trace:2:"}


def read(kind: str, folder: Path, text: str, **options) -> Conversations:
    path = folder / "trace"
    path.write_text(text)
    return TRACES[kind](path=path, **options).conversations(np.random.default_rng(0)).kept()


def test_every_format_has_a_case():
    assert set(TEXTS) == set(TRACES)


@pytest.mark.parametrize("kind", TEXTS)
def test_it_is_dropped_counted_and_refused_by_line_where_that_is_asked_for(kind, tmp_path):
    found = read(kind, tmp_path, TEXTS[kind])
    assert sorted(turn.output_tokens for conversation in found for turn in conversation.turns) == [5, 7]
    assert "1 of 3 requests of the trace have no answer (0 output tokens): dropped" in found.notes
    with pytest.raises(WorkloadError, match=f"{WHERE[kind]}.* 0 output tokens, expected at least 1"):
        read(kind, tmp_path, TEXTS[kind], strict=True)
    answered = (
        TEXTS[kind].replace(",0\n", ",1\n").replace(': 0, "hash', ': 1, "hash').replace(': 0, "think', ': 1, "think')
    )
    answered = answered.replace('"output_tokens": 0', '"output_tokens": 1')
    assert len(list(read(kind, tmp_path, answered, strict=True))) == 3
    assert not read(kind, tmp_path, answered).notes


@pytest.mark.parametrize("kind", TEXTS)
def test_a_file_without_any_answer_is_refused(kind, tmp_path):
    none = TEXTS[kind]
    for value in (5, 7):
        for before, after in (
            (f",{value}\n", ",0\n"),
            (f'length": {value}', 'length": 0'),
            (f'tokens": {value}', 'tokens": 0'),
        ):
            none = none.replace(before, after)
        none = none.replace(f'"out": {value}', '"out": 0')
    with pytest.raises(WorkloadError, match="trace: none of its 3 rows has an answer"):
        read(kind, tmp_path, none)


def test_what_a_dropped_turn_added_stays_in_the_conversation(tmp_path):
    rows = [
        {"conversation_id": 1, "turn": 0, "arrival_s": 4.0, "new_tokens": 100, "output_tokens": 0},
        {"conversation_id": 1, "turn": 1, "think_s": 1.0, "new_tokens": 20, "output_tokens": 9},
        {"conversation_id": 1, "turn": 2, "think_s": 2.0, "new_tokens": 3, "output_tokens": 0},
        {"conversation_id": 1, "turn": 3, "think_s": 0.5, "new_tokens": 4, "output_tokens": 8},
    ]
    (found,) = read("conversations", tmp_path, lines(*rows))
    assert found.arrival_s == 5.0
    assert found.turns == (
        TurnSpec(new_tokens=120, output_tokens=9),
        TurnSpec(new_tokens=7, output_tokens=8, think_s=2.5),
    )


def test_a_prompt_that_is_whole_already_gains_nothing(tmp_path):
    requests = [agent(5), agent(0, think_time=2.0), agent(7, think_time=3.0)]
    (found,) = read("agent-sessions", tmp_path, lines({"id": "s", "block_size": 64, "requests": requests}))
    assert [(turn.new_tokens, turn.think_s) for turn in found.turns] == [(640, 0.0), (640, 5.0)]
