"""A run that was killed, at whatever moment and with whatever left half-written, goes on; two never share a folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys

import pytest
from measure.fault_server import FaultyServer, command
from measure.standins import MACHINE, UNIFIED, service
from virtual_loop import run_virtually

from ppdsim import measurements
from ppdsim.cli.app import run as cli
from ppdsim.errors import EnvironmentProblem, MeasurementError
from ppdsim.measure.calibrate import fit, measure
from ppdsim.measure.finish import UNENDED_NOTE
from ppdsim.measure.journal import LIMITS, POINTS, SKIPPED, TAIL_BYTES, cut_torn_line, read_rows
from ppdsim.measure.lock import LOCK, locked
from ppdsim.measure.monitor import MACHINE as LOOKS
from ppdsim.measure.plan import load_plan
from ppdsim.measure.run_file import RUN
from ppdsim.measurements import read_manifest

PLAN = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0, 1024], new_tokens: [64, 256]}
decode: {batch: [1, 2], prompt_tokens: [512]}
repeats: {least: 1, most: 2, half_width: 0.5}
passes: 1
"""
LOAD = """\
load: [{name: few, rate_per_s: 5.0, conversations: 2}]
chat:
  kind: generated
  conversations: 1
  arrivals: {kind: poisson, rate_per_s: 1.0}
  turns_mean: 1
  first_turn_new_tokens: {kind: constant, value_tokens: 500}
  later_turn_new_tokens: {kind: constant, value_tokens: 100}
  output_tokens: {kind: constant, value_tokens: 20}
  think_time: {kind: constant, value_s: 0.2}
"""
CELLS = 6


def run(tmp_path, *services, resume=False, text=PLAN, folder="run"):
    (tmp_path / "plan.yaml").write_text(text)
    lines = []
    measure(
        load_plan(str(tmp_path / "plan.yaml")),
        list(services) or [service(*UNIFIED)],
        MACHINE,
        tmp_path / folder,
        resume=resume,
        show_line=lines.append,
        runner=run_virtually,
    )
    return lines


def fitted_cells(folder):
    return {row.cell for row in read_rows(folder) if row.purpose == "fit"}


def copied_at_row(tmp_path, rows):
    """Return a `spoil` that copies the folder when it has so many rows, as a kill would leave it."""

    def spoil(engine):
        original = engine.flush

        async def flush(role="all"):
            points = tmp_path / "run" / POINTS
            there = len(points.read_bytes().splitlines()) if points.exists() else 0
            if there >= rows and not (tmp_path / "killed").exists():
                shutil.copytree(tmp_path / "run", tmp_path / "killed")
            await original(role)

        engine.flush = flush

    return spoil


@pytest.mark.parametrize("rows", [0, 3])
def test_a_killed_run_has_a_manifest_that_says_it_has_not_ended(tmp_path, rows):
    run(tmp_path, service(*UNIFIED, spoil=copied_at_row(tmp_path, rows)))
    killed = tmp_path / "killed"
    manifest = read_manifest(killed)
    assert any(note.startswith(UNENDED_NOTE) for note in manifest.notes)
    assert not any(note.startswith(UNENDED_NOTE) for note in read_manifest(tmp_path / "run").notes)
    if rows:
        # Its rows can be read and fitted as they are.
        found = measurements.read(killed)
        assert found.prefill
        assert found.manifest.points_sha256 == hashlib.sha256((killed / POINTS).read_bytes()).hexdigest()
        assert manifest.points_sha256 == ""
    run(tmp_path, resume=True, folder="killed")
    assert len(fitted_cells(killed)) == CELLS
    manifest = read_manifest(killed)
    assert manifest.points_sha256
    assert not any(note.startswith(UNENDED_NOTE) for note in manifest.notes)


@pytest.mark.parametrize("lost", [("manifest.json",), ("manifest.json", RUN), ("manifest.json", RUN, LIMITS)])
def test_a_run_with_all_rows_and_no_manifest_is_not_lost(tmp_path, lost):
    run(tmp_path)
    before = read_manifest(tmp_path / "run")
    points = (tmp_path / "run" / POINTS).read_bytes()
    for name in lost:
        (tmp_path / "run" / name).unlink()
    lines = run(tmp_path, resume=True)
    assert lines[-1].startswith("0 rows added")
    assert (tmp_path / "run" / POINTS).read_bytes() == points
    after = read_manifest(tmp_path / "run")
    kept = ("server_flags", "kv_pools_tokens", "points_sha256", "engine_version", "chunked_prefill_size")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]


HALF = b'{"kind": "prefill", "cell": "fit/pre'


@pytest.mark.parametrize(
    ("name", "left", "said"),
    [
        (POINTS, HALF, "its last line was cut off in the middle, and is dropped"),
        (POINTS, b"\0" * 700, "its last line was cut off in the middle, and is dropped"),
        (SKIPPED, b'{"cell": "fit/decode/1/512", "rea', "its last line was cut off in the middle, and is dropped"),
        (SKIPPED, b'null\n{"cell": 1}\n', "2 malformed lines dropped"),
        (SKIPPED, b"\xff\xfe\n", "1 malformed line dropped"),
        (LIMITS, b"{", "dropped, the servers state it again"),
        (LIMITS, b"[]", "dropped, the servers state it again"),
        (LIMITS, b'{"append-d none": {"kv_pool_tokens": "many"}}', "dropped, the servers state it again"),
        (LIMITS, b"\xff", "dropped, the servers state it again"),
        (LOOKS, b'{"unix_s": 1', None),
    ],
)
def test_what_a_kill_left_half_written_is_dropped_and_named(tmp_path, name, left, said):
    run(tmp_path)
    path = tmp_path / "run" / name
    kept = b"" if name == LIMITS or not path.exists() else path.read_bytes()
    path.write_bytes(kept + left)
    more = PLAN.replace("[64, 256]", "[64, 256, 512]")
    lines = run(tmp_path, resume=True, text=more)
    assert said is None or any(line.startswith(str(tmp_path)) or "dropped" in line for line in lines)
    assert said is None or any(said in line and name in line for line in lines)
    assert len(fitted_cells(tmp_path / "run")) == CELLS + 2
    assert path.read_bytes().startswith(kept)
    assert not measurements.read(tmp_path / "run").refused


@pytest.mark.parametrize("content", ["[]", "{", '{"schema": "ppdsim/run/1", "servers": {"a": {"b": {}}}}', "\0"])
def test_a_record_that_is_none_is_named_before_anything_is_measured(tmp_path, content):
    run(tmp_path)
    (tmp_path / "run" / RUN).write_text(content)
    with pytest.raises(MeasurementError, match=rf"{RUN}: .*\S"):
        run(tmp_path, resume=True)


def test_a_manifest_that_is_none_is_named_before_anything_is_measured(tmp_path):
    run(tmp_path)
    (tmp_path / "run" / "manifest.json").write_text("{}")
    with pytest.raises(MeasurementError, match="manifest.json: missing key"):
        run(tmp_path, resume=True, text=PLAN.replace("[64, 256]", "[64, 256, 512]"))
    assert len(fitted_cells(tmp_path / "run")) == CELLS


@pytest.mark.parametrize("line_bytes", [10, TAIL_BYTES - 1, TAIL_BYTES, 3 * TAIL_BYTES + 7])
def test_a_torn_line_is_cut_off_in_place(tmp_path, line_bytes):
    path = tmp_path / "rows"
    whole = b"one\n" + b"x" * line_bytes + b"\n"
    path.write_bytes(whole + b"y" * line_bytes)
    number = path.stat().st_ino
    assert cut_torn_line(path)
    assert path.read_bytes() == whole
    assert path.stat().st_ino == number
    assert not cut_torn_line(path)
    path.write_bytes(b"z" * line_bytes)
    assert cut_torn_line(path)
    assert path.read_bytes() == b""
    assert not cut_torn_line(path)


def test_two_runs_in_one_folder_are_one_too_many(tmp_path):
    run(tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.name != LOCK}
    with locked(tmp_path / "run"):
        for call in (lambda: run(tmp_path, resume=True), lambda: fit(tmp_path / "run", show_line=str)):
            with pytest.raises(EnvironmentProblem, match=r"run: process \d+ on \S+ measures into it"):
                call()
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.name != LOCK} == before
    assert run(tmp_path, resume=True)[-1].startswith("0 rows added")


def test_the_row_that_another_run_is_writing_is_not_cut_off(tmp_path, capsys):
    with FaultyServer(None) as server:
        arguments = command(server.url, tmp_path)
        assert cli(arguments) == 0
        points = tmp_path / "out" / POINTS
        points.write_bytes(points.read_bytes() + HALF)
        before = points.read_bytes()
        with locked(tmp_path / "out"):
            assert cli([*arguments, "--resume"]) == 3
            assert points.read_bytes() == before
        error = capsys.readouterr().err.splitlines()[-1]
        assert "measures into it; wait for it, or give another -o" in error
        assert cli([*arguments, "--resume"]) == 0
    assert "its last line was cut off in the middle" in capsys.readouterr().err


def test_a_lock_of_a_process_that_was_killed_blocks_nobody(tmp_path):
    code = (
        "import sys, pathlib; from ppdsim.measure.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        with pytest.raises(EnvironmentProblem, match=f"process {holder.pid} on"), locked(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locked(tmp_path):
        assert str(holder.pid) not in (tmp_path / LOCK).read_text()


def test_another_plan_adds_what_it_asks_for_and_keeps_the_rows_that_there_are(tmp_path):
    run(tmp_path)
    before = (tmp_path / "run" / POINTS).read_bytes()
    other = PLAN.replace("name: tiny", "name: other").replace("[64, 256]", "[256, 512]")
    lines = run(tmp_path, resume=True, text=other)
    assert "rows of plan 'tiny' stay and are fitted too; this call measures what plan 'other' lacks" in lines
    after = (tmp_path / "run" / POINTS).read_bytes()
    assert after.startswith(before)
    assert {row["cell"] for row in map(json.loads, after[len(before) :].splitlines()) if row["purpose"] == "fit"} == {
        "fit/prefill/append-d/0/512",
        "fit/prefill/append-d/1024/512",
    }
    assert json.loads((tmp_path / "run" / RUN).read_text())["plans"] == ["tiny", "other"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rate_per_s: 5.0, conv", "rate_per_s: 6.0, conv", "rate_per_s 5.0, now 6.0"),
        ("conversations: 2", "conversations: 3", "conversations 2, now 3"),
        ("value_tokens: 100", "value_tokens: 101", "chat "),
        ("passes: 1", "passes: 1\nseed: 3", "seed 0, now 3"),
    ],
)
def test_another_load_of_the_same_name_is_refused(tmp_path, old, new, said):
    run(tmp_path, text=PLAN + LOAD)
    before = (tmp_path / "run" / POINTS).read_bytes()
    with pytest.raises(MeasurementError, match="plan 'tiny': its load 'few' is another one") as caught:
        run(tmp_path, resume=True, text=(PLAN + LOAD).replace(old, new))
    assert said in str(caught.value)
    assert (tmp_path / "run" / POINTS).read_bytes() == before
    # By another name it is another load.
    run(tmp_path, resume=True, text=(PLAN + LOAD).replace(old, new).replace("name: few", "name: more"))
    assert {row.run for row in measurements.read(tmp_path / "run").load} == {"few", "more"}


def test_a_call_that_measured_nothing_binds_nobody(tmp_path):
    """Its servers were described, and no row is from them."""

    def dying(engine):
        engine._dead = True

    with pytest.raises(EnvironmentProblem):
        run(tmp_path, service(*UNIFIED, spoil=dying))
    (tmp_path / "run" / RUN).write_text("{")
    run(tmp_path, resume=True)
    assert len(fitted_cells(tmp_path / "run")) == CELLS


def test_what_a_plan_lacks_stays_in_the_manifest_until_it_is_there(tmp_path):
    """Whatever the calls after it did: another plan, or an end before its turn came."""

    def interrupting(engine):
        original = engine.flush
        calls = iter(range(10**6))

        async def flush(role="all"):
            if next(calls) == 3:
                raise KeyboardInterrupt
            await original(role)

        engine.flush = flush

    def notes():
        return [note for note in read_manifest(tmp_path / "run").notes if "plan 'tiny'" in note]

    repeated = PLAN.replace("least: 1, most: 2, half_width: 0.5", "least: 3, most: 3, half_width: 0.5")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, service(*UNIFIED, spoil=interrupting), text=repeated)
    (unbegun, few) = notes()
    assert unbegun.startswith("append-d none: plan 'tiny' has no row of ")
    assert few.startswith("repeats of append-d none: fewer than plan 'tiny' asks for in ")
    run(tmp_path, resume=True, text="schema: ppdsim/plan/1\nname: other\ndecode: {batch: [1], prompt_tokens: [512]}\n")
    assert notes() == [unbegun, few]
    run(tmp_path, resume=True, text=repeated + "budget_s: 0.001\n")
    (few,) = notes()
    assert few.startswith("repeats of append-d none: fewer than plan 'tiny' asks for in 6 cells, its budget")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, service(*UNIFIED, spoil=interrupting), resume=True, text=repeated)
    (few,) = notes()
    assert few.startswith("repeats of append-d none: fewer than plan 'tiny' asks for in ")
    run(tmp_path, resume=True, text=repeated)
    assert not notes()
