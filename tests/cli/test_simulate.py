"""``ppdsim simulate``: a row a turn, a summary, and one JSON document when asked."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from ppdsim.cli.app import run

TURNS = [
    {"conversation_id": 1, "turn": 0, "arrival_s": 0.0, "new_tokens": 1500, "output_tokens": 64},
    {"conversation_id": 1, "turn": 1, "think_s": 1.0, "new_tokens": 200, "output_tokens": 64},
    {"conversation_id": 2, "turn": 0, "arrival_s": 0.5, "new_tokens": 900, "output_tokens": 32},
]
HOW = [
    (["one-unified"], "append-d"),
    (["one-pair", "--set", "transport=nvlink"], "p-full"),
    (["one-pair", "--set", "transport=tcp"], "p-full"),
    (["one-pair", "--set", "transport=tcp", "--set", "disaggregation_decode_enable_radix_cache=true"], "p-delta"),
]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(map(json.dumps, TURNS)))
    return path


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "turns.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("how", "arm"), HOW)
def test_a_trace_gives_one_row_a_turn(
    how, arm, trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["simulate", *how, "--trace", str(trace), "-o", str(out)]) == 0
    found = {(row["conversation_id"], row["turn"]): row for row in rows(out)}
    assert set(found) == {("1", "0"), ("1", "1"), ("2", "0")}
    assert found["1", "1"]["arm"] == arm
    assert found["1", "1"]["output_tokens"] == "64"
    assert all(row["status"] == "ok" and float(row["ttft_s"]) > 0.0 for row in found.values())
    printed = capsys.readouterr()
    assert "TTFT" in printed.out
    assert printed.err == f"wrote {out / 'turns.csv'}\nwrote {out / 'summary.json'}\n"


def test_json_is_the_summary(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "one-pair", "--trace", str(trace), "-o", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / "summary.json").read_text())


def test_quiet_prints_nothing(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "one-pair", "--trace", str(trace), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_seed_decides_the_bytes(tmp_path: Path) -> None:
    short = ["simulate", "one-pair", "--set", "workload.conversations=5", "--quiet"]
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run([*short, "--seed", seed, "-o", str(tmp_path / name)]) == 0
    for file in ("turns.csv", "summary.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert (tmp_path / "a" / "turns.csv").read_bytes() != (tmp_path / "c" / "turns.csv").read_bytes()


def test_the_policy_option_is_obeyed(trace: Path, tmp_path: Path) -> None:
    command = ["simulate", "one-pair", "--trace", str(trace), "-q", "--policy", "always-d", "-o", str(tmp_path / "out")]
    assert run(command) == 0
    assert [row["arm"] for row in rows(tmp_path / "out") if row["turn"] == "1"] == ["append-d"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--profile", "h300"], "unknown profile 'h300'"),
        (["--policy", "always-q"], "did you mean 'always-p'"),
        (["--set", "routing.parameters.threshold=3"], "threshold"),
    ],
)
def test_what_cannot_be_used_leaves_nothing(extra, message, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "one-pair", "-o", str(tmp_path / "out"), *extra]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["one-pair", "one-unified"])
def test_the_shipped_scenarios_are_stable(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", name, "-o", str(tmp_path / "out"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["label"] == "STABLE"
    assert summary["status"]["ok"] == summary["turns"]


def test_ctrl_c_keeps_the_turns_that_had_ended(trace: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    from ppdsim.des.cluster import Cluster

    finished = Cluster._finished

    def stop_at_the_second(self, turn: int, time: float) -> None:
        finished(self, turn, time)
        if sum(status == 0 for status in self.turns.status) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Cluster, "_finished", stop_at_the_second)
    assert run(["simulate", "one-pair", "--trace", str(trace), "-o", str(tmp_path / "out")]) == 130
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["interrupted"]
    kept = rows(tmp_path / "out" / "interrupted")
    assert [row["status"] for row in kept].count("ok") == 2
    assert "unfinished" in [row["status"] for row in kept]
    summary = json.loads((tmp_path / "out" / "interrupted" / "summary.json").read_text())
    assert any(note.startswith("interrupted") for note in summary["notes"])
    assert capsys.readouterr().err.splitlines()[-1] == "error: interrupted"


def test_decisions_are_a_file_of_their_own(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "why.csv"
    how = ["--trace", str(trace), "-o", str(tmp_path / "out"), "--decisions", str(path)]
    assert run(["simulate", "one-pair", *how]) == 0
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["policy"] for row in found] == ["always-p"] * 3
    assert sum(row["choice"] == "true" for row in found) == 1
    printed = capsys.readouterr()
    assert "REGRET" in printed.out
    assert printed.err.endswith(f"wrote {path}\n")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["regret"]["choices"] == 1


def test_the_timeline_is_a_file_of_its_own(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "timeline.json"
    how = ["simulate", "one-pair", "--trace", str(trace), "-o", str(tmp_path / "out")]
    assert run([*how, "--timeline", str(path)]) == 0
    assert capsys.readouterr().err.endswith(f"wrote {path}\n")
    document = json.loads(path.read_text())
    assert document["otherData"]["scenario"] == "one-pair"
    names = {e["args"]["name"] for e in document["traceEvents"] if e["name"] == "process_name"}
    assert names == {"node 0 (P)", "node 1 (pD)", "links", "turns"}
    whole = {e["name"] for e in document["traceEvents"] if e["ph"] == "b" and e["name"].startswith("turn ")}
    assert whole == {f"turn {row['request_id']}" for row in rows(tmp_path / "out")}


def test_several_policies_are_compared(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    how = ["--trace", str(trace), "-o", str(out), "--policy", "always-d", "--policy", "always-p"]
    assert run(["simulate", "one-pair", *how, "--decisions", str(tmp_path / "d.csv")]) == 0
    saved = json.loads((out / "policies.json").read_text())
    assert {row["policy"] for row in saved["policies"]} == {"always-p", "always-d"}
    assert {path.name for path in out.glob("[!.]*")} == {"always-p", "always-d", "policies.json"}
    assert {row["policy"] for row in csv.DictReader((tmp_path / "d.csv").read_text().splitlines())} == {
        "always-p",
        "always-d",
    }
    assert "regret" in capsys.readouterr().out
    assert run(["simulate", "one-pair", *how, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == saved


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (["--policy", "oracle"], "--policy all"),
        (["--policy", "always-p", "--policy", "alwaysd"], "did you mean 'always-d'"),
        (["--decisions", "."], "expected a file"),
        (["--timeline", "."], "expected a file"),
        (["--timeline", "t.json", "--policy", "all"], "give one --policy"),
        (["--set", "routing.decode_policy=randm"], "did you mean 'random'"),
        (["--set", "routing.client_max_conversations=0"], "client_max_conversations"),
    ],
)
def test_wrong_policies_and_targets_end_before_anything_is_written(
    how, message, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["simulate", "one-pair", "-o", str(out), *how]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()
