"""The three file formats: golden readings, recognition, and errors that name file and line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from ppdsim.errors import WorkloadError
from ppdsim.workload import TRACES, Conversation, TurnSpec, recognise

MOONCAKE = """\
{"timestamp": 40, "input_length": 1000, "output_length": 20, "hash_ids": [0, 1]}
{"timestamp": 0, "input_length": 512, "output_length": 5, "hash_ids": [0]}

{"timestamp": 277, "input_length": 1025, "output_length": 1, "hash_ids": [0, 1, 2]}
"""
AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16T18:15:46+00:00,879,55
"""
CONVERSATIONS = """\
{"conversation_id": "b", "turn": 1, "think_s": 1.5, "new_tokens": 200, "output_tokens": 64}
{"conversation_id": 1, "turn": 0, "arrival_s": 0.5, "new_tokens": 900, "output_tokens": 32}
{"conversation_id": "b", "turn": 0, "arrival_s": 0, "new_tokens": 1500, "output_tokens": 64}
"""
TEXTS = {"mooncake": MOONCAKE, "azure": AZURE, "conversations": CONVERSATIONS}


def written(folder: Path, text: str, *, packed: bool = False) -> Path:
    path = folder / "trace"
    data = text.encode()
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    return path


def read(kind: str, path: Path, **options) -> list[Conversation]:
    return list(TRACES[kind](path=path, **options).conversations(np.random.default_rng(0)))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", TEXTS)
def test_a_format_is_recognised_from_its_content(kind: str, packed: bool, tmp_path: Path) -> None:
    assert recognise(written(tmp_path, TEXTS[kind], packed=packed)) == kind


def test_mooncake(tmp_path: Path) -> None:
    (found,) = read("mooncake", written(tmp_path, MOONCAKE))
    assert (found.conversation_id, found.arrival_s) == (1, 0.0)
    assert found.turns == (
        TurnSpec(new_tokens=512, output_tokens=5, block_ids=(0,)),
        TurnSpec(new_tokens=1000, output_tokens=20, arrival_s=0.04, block_ids=(0, 1)),
        TurnSpec(new_tokens=1025, output_tokens=1, arrival_s=0.277, block_ids=(0, 1, 2)),
    )


def test_mooncake_timestamps_on_a_grid_of_3_s_are_spread_inside_it(tmp_path: Path) -> None:
    line = '{{"timestamp": {}, "input_length": 5, "output_length": 5, "hash_ids": [0]}}\n'
    text = "".join(line.format(stamp) for stamp in [0] * 200 + [2999] * 200 + [6001] * 200)
    found = read("mooncake", written(tmp_path, text))
    arrivals_s = {c.conversation_id: c.arrival_s for c in found}
    for block, start_s in enumerate((0.0, 2.999, 6.001)):
        inside = np.array([arrivals_s[i] for i in range(200 * block, 200 * block + 200)]) - start_s
        assert 0.0 <= inside.min() < 0.2
        assert 2.8 < inside.max() < 3.0
        assert (np.diff(inside) >= 0.0).all()  # the order of the file


def test_azure(tmp_path: Path) -> None:
    found = read("azure", written(tmp_path, AZURE))
    assert [c.conversation_id for c in found] == [2, 0, 1]
    assert [c.arrival_s for c in found] == pytest.approx([0.0, 0.68059, 4.995169], abs=1e-9)
    assert found[2].turns == (TurnSpec(new_tokens=396, output_tokens=109),)


def test_conversations(tmp_path: Path) -> None:
    assert read("conversations", written(tmp_path, CONVERSATIONS)) == [
        Conversation(
            conversation_id="b",
            arrival_s=0.0,
            turns=(
                TurnSpec(new_tokens=1500, output_tokens=64),
                TurnSpec(new_tokens=200, output_tokens=64, think_s=1.5),
            ),
        ),
        Conversation(conversation_id=1, arrival_s=0.5, turns=(TurnSpec(new_tokens=900, output_tokens=32),)),
    ]


def sent(found: list[Conversation]) -> list[float]:
    """Return what a file says of when requests are sent."""
    return [time_s for c in found for time_s in (c.arrival_s, *(t.arrival_s for t in c.turns)) if time_s is not None]


@pytest.mark.parametrize("kind", TEXTS)
def test_rate_scale_and_limit(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, TEXTS[kind])
    plain, fast = read(kind, path), read(kind, path, rate_scale=2.0)
    assert sent(fast) == pytest.approx([time_s / 2 for time_s in sent(plain)])
    assert [t.think_s for c in fast for t in c.turns] == [t.think_s for c in plain for t in c.turns]
    assert len(read(kind, path, limit=1)) == 1


M, A, C = TEXTS
WRONG = [
    (M, MOONCAKE + '{"timestamp": 0, "input_length": 5, "output_length": 5}', "trace:5: key 'hash_ids' is missing"),
    (
        M,
        MOONCAKE.replace('"hash_ids": [0]', '"hash_id": [0]'),
        "trace:2: unknown key 'hash_id'.*did you mean 'hash_ids'",
    ),
    (M, MOONCAKE.replace('"output_length": 1,', '"output_length": 1, "session_id": "a",'), "trace:4: key 'session_id'"),
    (M, MOONCAKE + "{", "trace:5: malformed JSON"),
    (
        M,
        MOONCAKE.replace('"output_length": 1,', '"output_lenght": 1,'),
        "trace:4: unknown key 'output_lenght'.*did you",
    ),
    (
        M,
        MOONCAKE.replace("[0, 1, 2]", "[0, 1]"),
        "trace:4: hash_ids: given 2 blocks, expected 3 of 512 tokens for 1025",
    ),
    (M, MOONCAKE.replace("[0, 1, 2]", "[0, 1, -2]"), "trace:4: hash_ids"),
    (M, MOONCAKE.replace("1000", "1000.5"), "trace:1: input_length: given 1000.5, expected a whole number"),
    (M, MOONCAKE.replace('"timestamp": 40', '"timestamp": -40'), "trace:1: timestamp: given -40"),
    (A, AZURE.replace("ContextTokens", "ContextToken"), "trace:1: column 'ContextTokens' is missing; did you mean"),
    (A, AZURE.replace("396", "many"), "trace:3: ContextTokens: given 'many'"),
    (A, AZURE.replace("2023-11-16 18:15:50.9951690", "yesterday"), "trace:3: TIMESTAMP: given 'yesterday'"),
    (A, AZURE.replace("2023-11-16 18:15:50", "2023-13-16 18:15:50"), "trace:3: TIMESTAMP"),
    (A, AZURE.replace(",396,109", ""), "trace:3: expected 3 fields, as in the header, got 1"),
    (A, AZURE.partition("\n")[0], "a header and no request"),
    (C, "[1, 2]", "trace:1: given .*, expected a JSON object"),
    (C, CONVERSATIONS.replace('"turn": 1', '"turn": 2'), "trace:1: turn 2 of conversation b without turn 1"),
    (
        C,
        CONVERSATIONS.replace('"turn": 1, "think_s"', '"turn": 0, "arrival_s"'),
        "trace:3: turn 0 of conversation b again",
    ),
    (C, CONVERSATIONS.replace('"think_s"', '"arrival_s"'), "trace:1: arrival_s on turn 1"),
    (C, CONVERSATIONS.replace('"think_s"', '"think_ms"'), "trace:1: unknown key 'think_ms'.*did you mean 'think_s'"),
    (C, CONVERSATIONS.replace("1.5", "-1.5"), "trace:1: think_s: given -1.5"),
    (C, CONVERSATIONS.replace('"new_tokens": 900', '"new_tokens": 0'), "trace:2: new_tokens: given 0"),
    (C, CONVERSATIONS.replace('"new_tokens": 900', '"new_tokens": true'), "trace:2: new_tokens: given True"),
    (C, CONVERSATIONS.replace('"conversation_id": 1', '"conversation_id": 1.5'), "trace:2: conversation_id"),
    *((kind, "", "trace: empty") for kind in TEXTS),
    *((kind, " \n\n", "trace: empty") for kind in TEXTS),
]


@pytest.mark.parametrize(("kind", "text", "message"), WRONG)
def test_an_error_names_file_line_and_key(kind: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=message) as caught:
        read(kind, written(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b"x" * 100, mtime=0)[:-9], "broken gzip"),
        (b"\x1f\x8bnonsense", "broken gzip"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xff{}", "not UTF-8"),
        (b'{"a": 1}', "expected a trace in one of the formats mooncake, azure, conversations"),
        (b"hello\n", "expected a trace"),
    ],
)
def test_a_file_in_no_format_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "trace").write_bytes(data)
    with pytest.raises(WorkloadError, match=message):
        recognise(tmp_path / "trace")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="No such file"):
        recognise(tmp_path / "absent")
    with pytest.raises(WorkloadError, match="cannot be read"):
        recognise(tmp_path)
