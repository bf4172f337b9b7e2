"""A run that goes on later goes on in time too, and only on the servers that it began on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from measure.standins import FULL_TCP, MACHINE, UNIFIED, link_alone, service
from virtual_loop import run_virtually

from ppdsim.engines.client import EngineInfo
from ppdsim.errors import EnvironmentProblem, InputError, MeasurementError
from ppdsim.measure.calibrate import measure
from ppdsim.measure.journal import POINTS, read_rows
from ppdsim.measure.plan import load_plan
from ppdsim.measure.record import RUN, RunRecord
from ppdsim.measure.transfer import calibrate_transfer
from ppdsim.measurements import read_manifest
from ppdsim.types import Transport

PLAN = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0], new_tokens: [64, 256]}
handoff: {cached_tokens: [0], new_tokens: [64, 256]}
decode: {batch: [1], prompt_tokens: [512]}
repeats: {least: 1, most: 2, half_width: 0.02}
"""
INFO = EngineInfo(
    name="sglang",
    version="0.5.17",
    model="llama",
    kv_pool_tokens=65_536,
    page_size_tokens=64,
    chunked_prefill_size=8192,
    max_running_requests=None,
    flags={"kv_cache_dtype": "auto", "schedule_policy": "fcfs", "random_seed": 7, "port": 30_000},
)


def run(tmp_path, *services, resume=False):
    path = tmp_path / "tiny.yaml"
    path.write_text(PLAN)
    measure(
        load_plan(str(path)),
        list(services),
        MACHINE,
        tmp_path / "run",
        resume=resume,
        show_line=lambda _: None,
        runner=run_virtually,
    )


def saying(**changes):
    """Return a `spoil` after which an engine describes its servers otherwise."""

    def spoil(engine):
        original = engine.servers

        async def servers():
            return {role: replace(info, **changes) for role, info in (await original()).items()}

        engine.servers = servers

    return spoil


def test_time_goes_on_where_an_earlier_call_began(tmp_path):
    run(tmp_path, service(*UNIFIED))
    before = len(read_rows(tmp_path / "run"))
    record = tmp_path / "run" / RUN
    # As if that call had begun an hour ago.
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "started_unix_s": content["started_unix_s"] - 3600.0}))
    run(tmp_path, service(*UNIFIED), service(*FULL_TCP), resume=True)
    earlier, later = (
        [row.elapsed_s for row in rows]
        for rows in (read_rows(tmp_path / "run")[:before], read_rows(tmp_path / "run")[before:])
    )
    assert min(earlier) >= 0.0
    assert max(earlier) < 600.0
    assert later
    assert min(later) >= 3600.0


@pytest.mark.parametrize("lost", [True, False], ids=["no record of the start", "clock set back"])
def test_time_never_goes_back(tmp_path, lost):
    run(tmp_path, service(*UNIFIED))
    last_s = max(row.elapsed_s for row in read_rows(tmp_path / "run"))
    before = len(read_rows(tmp_path / "run"))
    record = tmp_path / "run" / RUN
    content = json.loads(record.read_text())
    if lost:
        record.unlink()
    else:
        record.write_text(json.dumps({**content, "started_unix_s": content["started_unix_s"] + 3600.0}))
    run(tmp_path, service(*UNIFIED), service(*FULL_TCP), resume=True)
    assert min(row.elapsed_s for row in read_rows(tmp_path / "run")[before:]) >= last_s


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"version": "0.5.20"}, "unified: version 0.5.17, now 0.5.20"),
        ({"model": "qwen"}, "unified: model stand-in, now qwen"),
        ({"flags": {"kv_cache_dtype": "fp8_e5m2"}}, "unified: kv_cache_dtype not given, now fp8_e5m2"),
        ({"chunked_prefill_size": 2048}, "unified: chunked_prefill_size 8192, now 2048"),
    ],
)
def test_other_servers_than_before_are_refused(tmp_path, changes, named):
    ahead = replace(service(*UNIFIED), name="unified")
    run(tmp_path, ahead)
    rows = (tmp_path / "run" / POINTS).read_bytes()
    (tmp_path / "tiny.yaml").write_text(PLAN)
    more = PLAN.replace("new_tokens: [64, 256]", "new_tokens: [64, 256, 1024]")
    other = replace(service(*UNIFIED, spoil=saying(**changes)), name="unified")
    (tmp_path / "more.yaml").write_text(more)
    with pytest.raises(InputError) as caught:
        measure(
            load_plan(str(tmp_path / "more.yaml")),
            [other],
            MACHINE,
            tmp_path / "run",
            resume=True,
            show_line=lambda _: None,
            runner=run_virtually,
        )
    assert named in str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert (tmp_path / "run" / POINTS).read_bytes() == rows


def test_servers_that_run_already_are_asked_before_anything_is_measured(tmp_path):
    def spoil(engine):
        engine._dead = True

    there = replace(service(*FULL_TCP, spoil=spoil), starts_servers=False)
    with pytest.raises(EnvironmentProblem, match="p-full tcp: unreachable"):
        run(tmp_path, service(*UNIFIED), there)
    assert not (tmp_path / "run" / POINTS).exists()


def test_every_service_serves_one_model_with_one_kv_dtype(tmp_path):
    record = RunRecord(tmp_path)
    record.check("unified", {"unified": INFO})
    narrow = replace(INFO, flags={**INFO.flags, "kv_cache_dtype": "fp8_e5m2"})
    with pytest.raises(MeasurementError, match="kv_cache_dtype auto, now fp8_e5m2"):
        RunRecord(tmp_path).check("hand-offs over tcp", {"prefill": INFO, "decode": narrow})
    # What a pair does otherwise than a unified server is its own choice.
    RunRecord(tmp_path).check(
        "hand-offs over tcp", {"prefill": INFO, "decode": replace(INFO, flags={**INFO.flags, "schedule_policy": "lof"})}
    )


def test_what_changes_at_every_start_is_not_compared(tmp_path):
    RunRecord(tmp_path).check("unified", {"unified": INFO})
    flags = {**INFO.flags, "random_seed": 8, "port": 30_001}
    RunRecord(tmp_path).check("unified", {"unified": replace(INFO, flags=flags, kv_pool_tokens=65_472)})
    with pytest.raises(MeasurementError, match="schedule_policy fcfs, now lof"):
        RunRecord(tmp_path).check("unified", {"unified": replace(INFO, flags={**flags, "schedule_policy": "lof"})})


def test_the_manifest_names_the_flags_of_every_server(tmp_path):
    run(tmp_path, service(*UNIFIED, spoil=saying(flags={"tp_size": 1, "stream_interval": 2})))
    run(tmp_path, service(*FULL_TCP, spoil=saying(flags={"tp_size": 1, "stream_interval": 3})), resume=True)
    manifest = read_manifest(tmp_path / "run")
    assert manifest.server_flags == ("stream_interval=2", "tp_size=1")
    assert manifest.role_flags == {
        "append-d none, unified": (),
        "p-full tcp, prefill": ("stream_interval=3",),
        "p-full tcp, decode": ("stream_interval=3",),
    }


def test_a_record_that_is_none_is_named(tmp_path):
    (tmp_path / RUN).write_text("[]")
    with pytest.raises(MeasurementError, match=RUN):
        RunRecord(tmp_path)


def test_the_link_alone_goes_on_in_time_too(tmp_path, monkeypatch):
    class Pair:
        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def seconds(self, size_bytes, blocks, *, repeats):
            return [1e-3 + 1e-9 * size_bytes + 1e-5 * blocks] * repeats

    monkeypatch.setattr("ppdsim.engines.sglang.transfer_engine.TransferPair", Pair)

    def measured(sizes, *, resume):
        (tmp_path / "link.yaml").write_text(
            f"schema: ppdsim/plan/1\nname: link\ntransfer: {{size_bytes: {sizes}, blocks: [1, 16, 64]}}\n"
        )
        calibrate_transfer(
            load_plan(str(tmp_path / "link.yaml")),
            tmp_path / "run",
            link_alone(Transport.TCP),
            resume=resume,
            show_line=lambda _: None,
        )
        return [row.elapsed_s for row in read_rows(tmp_path / "run")]

    first = measured([65_536, 1_048_576, 8_388_608], resume=False)
    record = tmp_path / "run" / RUN
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "started_unix_s": content["started_unix_s"] - 3600.0}))
    later = measured([65_536, 1_048_576, 8_388_608, 16_777_216], resume=True)[len(first) :]
    assert max(first) < 600.0
    assert later
    assert min(later) >= 3600.0
