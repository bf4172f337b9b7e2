"""Every foreseen mistake is one line that helps, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import pytest

from ppdsim.cli.app import run

PROFILE = "h200x2_llama-3.1-8b_sglang-0.5.17"
CASES = {
    "unknown key": (
        ["simulate", "one-pair", "--set", "transprot=tcp"],
        ["--set transprot=tcp", "unknown key", "did you mean 'transport'"],
    ),
    "a key of another block": (
        ["simulate", "one-pair", "--set", "gamma=2"],
        ["--set gamma=2", "did you mean 'routing.gamma' or 'crossover.gamma'?"],
    ),
    "a key of an item": (["simulate", "one-pair", "--set", "fleet.count=2"], ["did you mean 'fleet.0.count'?"]),
    "unknown key in a file": (["crossover", "{bad_key}"], ["bad_key.yaml:", "residnets", "did you mean 'residents'"]),
    "wrong unit": (["simulate", "one-pair", "--set", "slo.ttft_s=0.5"], ["slo.ttft_s", "did you mean 'ttft_ms'"]),
    "word for a number": (["crossover", "cache-rate", "--set", "crossover.residents=many"], ["residents", "'many'"]),
    "r outside [0, 1)": (
        ["crossover", "cache-rate", "--set", "crossover.cache_rates=[0.5, 1.0]"],
        ["crossover.cache_rates", "1.0", "less than 1"],
    ),
    "missing profile": (
        ["crossover", "cache-rate", "--profile", "h200x2_llama-3.1-8b_sglang-0.5.16"],
        ["h200x2_llama-3.1-8b_sglang-0.5.16", f"did you mean '{PROFILE}'", "ppdsim profiles"],
    ),
    "malformed profile": (
        ["crossover", "cache-rate", "--profile", "{malformed}"],
        ["malformed.json", "malformed JSON"],
    ),
    "unknown scenario": (["crossover", "cache-rat"], ["cache-rat", "did you mean 'cache-rate'", "ppdsim scenarios"]),
    "empty trace": (["simulate", "one-pair", "--trace", "{empty}"], ["empty.jsonl", "empty"]),
    "trace of nothing known": (["crossover", "cache-rate", "--trace", "{prose}"], ["prose.txt"]),
    "trace with a bad line": (
        ["simulate", "one-pair", "--trace", "{bad_line}"],
        ["bad_line.jsonl:2", "new_tokens", "-5"],
    ),
    "more context than the pool": (
        [
            *("crossover", "cache-rate", "--set", "crossover.total_tokens=[30000]"),
            *("--set", "fleet.0.kv_pool_tokens=20000", "--set", "fleet.1.kv_pool_tokens=20000"),
        ],
        ["30512", "KV pool holds 20000"],
    ),
    "more context than the model's": (
        ["crossover", "cache-rate", "--set", "crossover.total_tokens=[400000]"],
        ["400000", "131072"],
    ),
    "a turn above the context": (
        ["simulate", "one-pair", "--trace", "{huge}"],
        ["conversation 1, turn 0", "500000", "131072"],
    ),
    "an engine that cannot append on D": (
        ["simulate", "one-pair", "--set", "engine=sglang-0.5.17", "--policy", "always-d"],
        ["fleet: role pD", "sglang-0.5.17", "expected D or U"],
    ),
    "unknown policy": (["simulate", "one-pair", "--policy", "always-q"], ["always-q", "did you mean 'always-"]),
    "unknown profile to show": (["show", "h300"], ["h300", "h200", "ppdsim profiles"]),
    "points without a column": (["predict", PROFILE, "--points", "{points}"], ["points.csv", "new_tokens"]),
    "measurements that are no folder": (["fit", "{prose}", "-o", "{out}/p.json"], ["prose.txt", "folder"]),
    "unknown format": (["schema", "scenaro"], ["scenaro", "did you mean 'scenario'"]),
    "unknown option": (["crossover", "cache-rate", "--profil", "x"], ["--profil", "--help"]),
}
TURN = '{"conversation_id": 1, "turn": 0, "arrival_s": 0.0, "new_tokens": %d, "output_tokens": 4}\n'


@pytest.fixture(scope="module")
def files(tmp_path_factory, repository):
    folder = tmp_path_factory.mktemp("bad")
    shipped = (repository / "scenarios/cache-rate.yaml").read_text()
    contents = {
        "bad_key.yaml": shipped.replace("  residents: 4", "  residnets: 4"),
        "malformed.json": '{"schema": "ppdsim/profile/1",',
        "empty.jsonl": "",
        "prose.txt": "once upon a time\n",
        "bad_line.jsonl": TURN % 10 + (TURN % -5).replace('"conversation_id": 1', '"conversation_id": 2'),
        "huge.jsonl": TURN % 500_000,
        "points.csv": "kind,arm,transport,cached_tokens\nprefill,append-d,none,10\n",
    }
    for name, text in contents.items():
        (folder / name).write_text(text)
    return {name.split(".")[0]: folder / name for name in contents}


@pytest.mark.parametrize("name", CASES)
def test_it_is_one_line_and_2_and_nothing_is_written(name, files, tmp_path, capsys):
    command, expected = CASES[name]
    out = tmp_path / "out"
    filled = [part.format(out=out, **files) for part in command]
    if filled[0] in ("crossover", "simulate"):
        filled += ["-o", str(out)]
    assert run(filled) == 2
    printed = capsys.readouterr()
    assert not printed.out
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    for part in expected:
        assert part in line
    assert not out.exists()
