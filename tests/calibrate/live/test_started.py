"""Services of servers to start: one set a link, links that nobody asked for are optional."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from calibrate.stack.standins import PROGRAM, left_over, ports

from ppdsim.calibrate.live.plan import load_plan
from ppdsim.calibrate.live.started import buffer_gpus, started
from ppdsim.calibrate.stack.settings import Settings
from ppdsim.calibrate.stack.specs import Host
from ppdsim.types import Transport

HOST = Host(cores=(0,), nvlink_lanes={(0, 1): 18}, gpu_memory_bytes=(80 * 10**9,) * 2)
ON_GPUS = {"model": "m", "prefill_gpus": (0,), "decode_gpus": (1,), "unified_gpus": (1,)}


def services(links, tmp_path: Path, **settings):
    chosen = Settings(**{**ON_GPUS, **settings})
    return started(load_plan("quick"), chosen, links, HOST, tmp_path, progress=lambda progress: None)


@pytest.mark.parametrize(
    ("links", "settings", "expected"),
    [
        ([], {}, [("unified", False), ("hand-offs over nvlink", True), ("hand-offs over tcp", True)]),
        ([Transport.TCP, Transport.NVLINK], {}, [("unified", False), ("hand-offs over tcp", False)]),
        ([], {"transport": "tcp"}, [("unified", False), ("hand-offs over tcp", False)]),
        ([], {"decode_gpus": (0,), "max_total_tokens": 65_536}, [("unified", False), ("hand-offs over tcp", False)]),
    ],
    ids=["every link", "asked for", "set", "one GPU has one link"],
)
def test_links_that_nobody_asked_for_are_optional(links, settings, expected, tmp_path):
    found = [(service.name, service.optional) for service in services(links, tmp_path, **settings)]
    assert found[: len(expected)] == expected


def test_the_link_alone_is_measured_between_the_gpus_of_p_and_d(monkeypatch):
    from ppdsim.calibrate.live import started as module

    monkeypatch.setattr(module, "find_spec", lambda name: name)
    assert buffer_gpus(Settings(**ON_GPUS), HOST) == (0, 1)
    assert buffer_gpus(Settings(**{**ON_GPUS, "decode_gpus": (2,)}), HOST) is None
    assert buffer_gpus(Settings(model="m", unified_gpus=(0,)), HOST) is None
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert buffer_gpus(Settings(**ON_GPUS), HOST) is None


def test_pinned_servers_and_the_client_have_cores_of_their_own(tmp_path, require):
    """Two cores for a server and the client, one each; afterwards the client has both again."""
    require("taskset")
    require("python:aiohttp")
    before = os.sched_getaffinity(0)
    cores = tuple(sorted(before))[:2]
    if len(cores) < 2:
        pytest.skip("one core")
    (tmp_path / "config.json").write_text("{}")
    settings = Settings(
        model=str(tmp_path),
        unified_gpus=(0,),
        cpu_pin="auto",
        engine_program=PROGRAM,
        ports={**ports()},
        stop_timeout_s=0.5,
    )
    host = Host(cores=cores)
    (alone,) = started(load_plan("quick"), settings, [], host, tmp_path / "logs", progress=lambda progress: None)

    async def look():
        async with alone.open():
            (pid,) = (pid for pid in left_over(tmp_path) if pid != os.getpid())
            return os.sched_getaffinity(pid), os.sched_getaffinity(0)

    server, client = asyncio.run(look())
    assert (server, client) == ({cores[0]}, {cores[1]})
    assert os.sched_getaffinity(0) == before
    assert f"unified: unified-0 on GPU 0, cores {cores[0]}" in alone.notes[0]
