"""``ppdsim validate`` as a command: what it prints and writes, its exit codes, and what it refuses."""

from __future__ import annotations

import hashlib
import json

import pytest

from ppdsim import measurements
from ppdsim.cli.app import run

TWO = "h200x2_llama-3.1-8b_sglang-0.5.17"


@pytest.fixture(scope="module")
def grid(repository, tmp_path_factory):
    """Return the profile's own run without its hand-offs over TCP: half of it, in a third of the time."""
    run_of_it = measurements.read(repository / "calibration/measurements" / TWO)
    kept = [row for row in run_of_it.prefill if row.transport != "tcp"]
    rows = [json.loads(row.model_dump_json()) for row in (*kept, *run_of_it.decode, *run_of_it.interference)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    manifest = json.loads((run_of_it.path / "manifest.json").read_text())
    manifest |= {"points_file": "points.jsonl", "points_sha256": hashlib.sha256(text.encode()).hexdigest()}
    folder = tmp_path_factory.mktemp("grid")
    (folder / "points.jsonl").write_text(text)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def test_it_prints_the_card_and_writes_words_json_and_a_report(grid, tmp_path, capsys):
    assert run(["validate", TWO, grid, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    out = tmp_path / "out"
    assert sorted(path.name for path in out.glob("[!.]*")) == ["accuracy.txt", "report.html", "validation.json"]
    assert printed.out == (out / "accuracy.txt").read_text()
    found = json.loads((out / "validation.json").read_text())
    assert found["profile"] == TWO
    assert {row["scope"] for row in found["cells"]} == {"leave-one-out"}
    assert max(map(len, printed.out.splitlines())) <= 160


def test_a_median_over_the_limit_ends_with_1_and_a_loose_one_with_0(grid, tmp_path, capsys):
    assert run(["validate", TWO, grid, "--fail-over", "1%", "-q", "-o", str(tmp_path)]) == 1
    assert "gate failed" in capsys.readouterr().err
    assert (tmp_path / "report.html").exists()
    assert run(["validate", TWO, grid, "--fail-over", "0.05", "-q", "-o", str(tmp_path)]) == 0


def test_a_limit_that_judged_nothing_does_not_hold(tmp_path, capsys, repository):
    """An imported load has no cell: nothing of it is compared with the limit, and that is no success."""
    source = tmp_path / "bench.jsonl"
    run_of_it = {
        "backend": "sglang", "duration": 1.0, "input_lens": [100, 200], "output_lens": [3, 3], "ttfts": [0.5, 0.5],
        "itls": [[0.01, 0.01]] * 2, "errors": ["", ""], "server_info": {"disaggregation_mode": "null"},
    }  # fmt: skip
    source.write_text(json.dumps(run_of_it) + "\n")
    manifest = repository / "calibration/measurements" / TWO / "manifest.json"
    assert run(["import", str(source), "--manifest", str(manifest), "-o", str(tmp_path / "load"), "-q"]) == 0
    arguments = ["validate", TWO, str(tmp_path / "load"), "-q"]
    assert run([*arguments, "-o", str(tmp_path / "a")]) == 0
    assert run([*arguments, "--fail-over", "5%", "-o", str(tmp_path / "b")]) == 1
    assert "--fail-over judges at least one cell; found no cell was compared" in capsys.readouterr().err
    assert "FAILED: --fail-over judges at least one cell" in (tmp_path / "b/accuracy.txt").read_text()


@pytest.mark.parametrize("limit", ["five", "0", "-1%", "200%", ""])
def test_a_limit_that_is_no_share_is_refused(limit, grid, tmp_path, capsys):
    assert run(["validate", TWO, grid, "--fail-over", limit, "-o", str(tmp_path / "out")]) == 2
    assert "expected a share" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
