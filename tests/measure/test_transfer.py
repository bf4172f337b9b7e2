"""``ppdsim calibrate --only transfer``, small, on the real transfer engine over TCP."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from dataclasses import replace
from io import BytesIO, TextIOWrapper

import pytest
from cli.test_json import assert_described, assert_file_described
from measure.standins import DELTA_TCP, FULL_NVLINK, MACHINE, UNIFIED, link_alone, service
from virtual_loop import run_virtually

from ppdsim.cli.app import run
from ppdsim.engines import ENGINES
from ppdsim.engines.sglang import transfer_engine
from ppdsim.errors import EnvironmentProblem
from ppdsim.measure import transfer
from ppdsim.measure.calibrate import measure
from ppdsim.measure.journal import POINTS, read_rows
from ppdsim.measure.plan import load_plan
from ppdsim.measure.record import RUN
from ppdsim.measure.transfer import link_problem, links_of
from ppdsim.types import Transport

ALONE = ENGINES["sglang"].link_alone
PLAN = """\
schema: ppdsim/plan/1
name: tiny
transfer: {size_bytes: [65536, 1048576, 8388608], blocks: [1, 16]}
repeats: {least: 2, most: 2, half_width: 0.02}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, require):
    require("python:mooncake.engine")
    path = tmp_path_factory.mktemp("transfer")
    (path / "tiny.yaml").write_text(PLAN)
    command = ["calibrate", "--only", "transfer", "--plan", str(path / "tiny.yaml"), "-o", str(path / "out"), "-q"]
    with redirect_stdout(TextIOWrapper(BytesIO(), encoding="utf-8")) as printed:
        assert run([*command, "--json"]) == 0
    (path / "printed.json").write_bytes(printed.buffer.getvalue())
    return path


def test_what_it_prints_and_writes_is_of_a_published_schema(folder):
    document = json.loads((folder / "printed.json").read_text())
    assert_described(document, "calibrate")
    assert document["files"] == [str(folder / "out" / POINTS), str(folder / "out" / "wire.json")]
    assert document["plan"]
    assert (document["dry_run"], document["card"]) == (False, None)
    assert_file_described(folder / "out" / "wire.json")


def test_every_cell_was_measured_and_the_curve_has_intervals(folder):
    rows = read_rows(folder / "out")
    assert len({row.cell for row in rows}) == 6
    assert all(row.transfer_s > 0 and row.memory == "host" for row in rows)
    found = json.loads((folder / "out" / "wire.json").read_text())
    assert found["cells"] == 6
    for entry in found["parameters"].values():
        assert 0.0 <= entry["low"] <= entry["high"]
        assert entry["unit"]
    # Loopback is somewhere between 10 MB/s and 100 GB/s.
    assert 1e-11 < found["parameters"]["byte_s"]["value"] < 1e-7


def test_resuming_a_finished_run_adds_nothing(folder, capsys):
    before = (folder / "out" / POINTS).read_bytes()
    command = ["calibrate", "--only", "transfer", "--plan", str(folder / "tiny.yaml"), "-o", str(folder / "out")]
    assert run([*command, "--resume"]) == 0
    assert (folder / "out" / POINTS).read_bytes() == before
    assert "tcp, host memory:" in capsys.readouterr().out
    assert run(command) == 2
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--only", "transfers"], "did you mean 'transfer'"),
        (["--only", "transfer", "--transport", "tpc"], "did you mean 'tcp'"),
        (["--only", "transfer", "--gpus", "0"], "expected the numbers of two GPUs"),
        ([], "--model: not given"),
    ],
)
def test_bad_input_is_one_line_and_2(extra, message, tmp_path, capsys):
    assert run(["calibrate", "-o", str(tmp_path / "out"), *extra]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


TINY = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0], new_tokens: [64]}
transfer: {size_bytes: [65536], blocks: [1]}
repeats: {least: 1, most: 1}
"""


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        (link_alone(Transport.NVLINK), "NVLink carries GPU memory only"),
        (link_alone(Transport.TCP), "mooncake cannot be imported: libibverbs.so.1"),
    ],
    ids=["nvlink without a GPU", "an engine that does not import"],
)
def test_a_link_that_cannot_be_measured_alone_is_one_line_and_ends_nothing(link, reason, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise EnvironmentProblem("mooncake cannot be imported: libibverbs.so.1 is missing")

    link = replace(link, alone=replace(link.alone, pair=broken))
    monkeypatch.setattr(transfer, "find_spec", lambda name: name)
    (tmp_path / "tiny.yaml").write_text(TINY)
    lines = []
    measure(
        load_plan(str(tmp_path / "tiny.yaml")),
        [service(*UNIFIED)],
        MACHINE,
        tmp_path / "run",
        resume=False,
        show_line=lines.append,
        links=[link],
        runner=run_virtually,
    )
    (line,) = [line for line in lines if "left out" in line]
    assert line.startswith(f"{link.name}: left out, {reason}")
    assert line in json.loads((tmp_path / "run" / "manifest.json").read_text())["notes"]
    assert {row.kind for row in read_rows(tmp_path / "run")} == {"prefill"}


class AtOnce:
    """A pair of engines that transfers without any."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def seconds(self, *_, **__):
        return (1e-3,)


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(transfer_engine, "TransferPair", AtOnce)
    monkeypatch.setattr(transfer, "find_spec", lambda name: name)


def calibrated(tmp_path, one, *over, resume=False, show_line=str):
    (tmp_path / "tiny.yaml").write_text(TINY)
    links = [link_alone(transport, gpus=(0, 1)) for transport in over]
    plan = load_plan(str(tmp_path / "tiny.yaml"))
    run_folder = tmp_path / "run"
    measure(plan, [one], MACHINE, run_folder, resume=resume, show_line=show_line, links=links, runner=run_virtually)
    return read_rows(run_folder)


def test_a_transfer_that_fails_is_named_and_ends_its_link_alone(at_once, tmp_path, monkeypatch):
    class Broken(AtOnce):
        def seconds(self, size_bytes, *_, **__):
            raise EnvironmentProblem(f"batch_transfer_sync_write returned -1 ({size_bytes} bytes)")

    pairs = iter([Broken(), AtOnce()])
    monkeypatch.setattr(transfer_engine, "TransferPair", lambda *_, **__: next(pairs))
    lines = []
    found = calibrated(tmp_path, service(*UNIFIED), Transport.TCP, Transport.NVLINK, show_line=lines.append)
    assert [row.transport for row in found if row.kind == "transfer"] == [Transport.NVLINK]
    assert {row.kind for row in found} == {"transfer", "prefill"}
    (skipped,) = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert skipped["cell"] == "fit/transfer/tcp/65536/1/gpu"
    assert "returned -1 (65536 bytes)" in skipped["reason"]
    (line,) = [line for line in lines if "left out" in line]
    assert line.startswith("transfer alone over tcp, GPU 0 to GPU 1: left out, batch_transfer_sync_write returned -1")
    assert line in json.loads((tmp_path / "run" / "manifest.json").read_text())["notes"]


def an_hour_earlier(folder):
    content = json.loads((folder / RUN).read_text())
    (folder / RUN).write_text(json.dumps({**content, "started_unix_s": content["started_unix_s"] - 3600.0}))


def test_transfers_and_turns_lie_on_one_time_axis_over_all_calls(at_once, tmp_path):
    first = calibrated(tmp_path, service(*UNIFIED), Transport.TCP)
    assert [row.kind for row in first] == ["transfer", "prefill", "prefill"]
    assert [row.elapsed_s for row in first] == sorted(row.elapsed_s for row in first)
    assert 0.0 <= first[0].elapsed_s < 600.0
    an_hour_earlier(tmp_path / "run")
    second = calibrated(tmp_path, service(*FULL_NVLINK), Transport.TCP, Transport.NVLINK, resume=True)[len(first) :]
    assert second[0].kind == "transfer"
    assert 3600.0 <= second[0].elapsed_s < 4200.0
    assert [row.elapsed_s for row in second] == sorted(row.elapsed_s for row in second)


def test_running_servers_are_asked_before_the_link_is_measured(at_once, tmp_path):
    def spoil(engine):
        engine._dead = True

    there = replace(service(*UNIFIED, spoil=spoil), starts_servers=False)
    with pytest.raises(EnvironmentProblem, match="append-d none: unreachable"):
        calibrated(tmp_path, there, Transport.TCP)
    assert not (tmp_path / "run" / POINTS).exists()


def test_an_engine_that_is_not_installed_is_said_before_anything_is_tried(monkeypatch):
    monkeypatch.setattr(transfer, "find_spec", lambda name: None)
    assert link_problem(link_alone(Transport.TCP)) == ("mooncake is not installed (ppdsim doctor says what to install)")


def test_the_links_are_those_of_the_hand_offs(tmp_path):
    services = [service(*UNIFIED), service(*DELTA_TCP, decode_radix=True), service(*FULL_NVLINK)]
    found = links_of(ALONE, load_plan("quick"), services, (0, 1))
    assert [link.name for link in found] == [
        "transfer alone over tcp, GPU 0 to GPU 1",
        "transfer alone over nvlink, GPU 0 to GPU 1",
    ]
    assert links_of(ALONE, load_plan("rates"), services, None) == []
    assert links_of(ALONE, load_plan("quick"), services[:1], None) == []
