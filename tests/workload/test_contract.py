"""What every workload must do, whichever it is: an entry below for each registered name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ppdsim.errors import UnknownNameError
from ppdsim.workload import WORKLOADS, AbstractWorkload, Conversation
from ppdsim.workload.arrivals import Poisson
from ppdsim.workload.lengths import Constant, Exponential, Lognormal


def generated(folder: Path) -> AbstractWorkload:
    return WORKLOADS["generated"](
        count=50,
        arrivals=Poisson(rate_per_s=2.0),
        turns_mean=3.0,
        first_turn_new_tokens=Lognormal(median=2_000, sigma=0.5, low=1, high=8_192),
        later_turn_new_tokens=Lognormal(median=200, sigma=1.0, low=1, high=8_192),
        output_tokens=Constant(value=100),
        think_time=Exponential(mean=5.0),
    )


def mooncake(folder: Path) -> AbstractWorkload:
    rows = [
        {"timestamp": 3000 * (i // 3), "input_length": 700 + i, "output_length": 5, "hash_ids": [0, i]}
        for i in range(9)
    ]
    return from_text("mooncake", folder, "".join(f"{json.dumps(row)}\n" for row in rows))


def azure(folder: Path) -> AbstractWorkload:
    lines = "".join(f"2023-11-16 18:15:{46 + i}.6805900,{370 + i},{44 + i}\r\n" for i in range(9))
    return from_text("azure", folder, f"TIMESTAMP,ContextTokens,GeneratedTokens\r\n{lines}")


def conversations(folder: Path) -> AbstractWorkload:
    rows = [
        {"conversation_id": i % 3, "turn": i // 3, "new_tokens": 10 + i, "output_tokens": 5}
        | ({"arrival_s": 3.0 - i} if i < 3 else {"think_s": 1.5})
        for i in range(9)
    ]
    return from_text("conversations", folder, "".join(f"{json.dumps(row)}\n" for row in rows))


def agent_sessions(folder: Path) -> AbstractWorkload:
    rows = [
        {
            "id": f"s{i}",
            "block_size": 64,
            "requests": [
                {"t": 0.0, "in": 700 * turn + i, "out": 9, "think_time": 2.0, "hash_rle": [0, (700 * turn + i) // 64]}
                for turn in (1, 2, 3)
            ],
        }
        for i in range(9)
    ]
    return from_text("agent-sessions", folder, "".join(f"{json.dumps(row)}\n" for row in rows))


def from_text(kind: str, folder: Path, text: str) -> AbstractWorkload:
    path = folder / "trace"
    path.write_text(text)
    return WORKLOADS[kind](path=path)


EXAMPLES: dict[str, Callable[[Path], AbstractWorkload]] = {
    "generated": generated,
    "mooncake": mooncake,
    "azure": azure,
    "conversations": conversations,
    "agent-sessions": agent_sessions,
}


def drawn(workload: AbstractWorkload, seed: int = 0) -> list[Conversation]:
    return list(workload.conversations(np.random.default_rng(seed)))


def test_every_workload_has_an_example() -> None:
    assert set(EXAMPLES) == set(WORKLOADS)


def test_an_unknown_workload_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mooncake'"):
        WORKLOADS["moncake"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_same_seed_gives_the_same_conversations(name: str, tmp_path: Path) -> None:
    workload = EXAMPLES[name](tmp_path)
    assert drawn(workload, 7) == drawn(workload, 7)


@pytest.mark.parametrize("name", EXAMPLES)
def test_conversations_are_in_order_and_well_formed(name: str, tmp_path: Path) -> None:
    found = drawn(EXAMPLES[name](tmp_path))
    assert len({conversation.conversation_id for conversation in found}) == len(found) > 0
    arrivals_s = [conversation.arrival_s for conversation in found]
    assert arrivals_s == sorted(arrivals_s)
    assert arrivals_s[0] >= 0.0
    for conversation in found:
        assert conversation.turns[0].think_s == 0.0
        for turn in conversation.turns:
            assert turn.new_tokens >= 1
            assert turn.output_tokens >= 1
            assert turn.think_s >= 0.0
