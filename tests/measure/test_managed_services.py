"""Services of servers to start: one set a link, links that nobody asked for are optional."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from engines.sglang.launcher.standins import PROGRAM, left_over, ports

from ppdsim.engines import ENGINES
from ppdsim.engines.launch.specs import Host
from ppdsim.engines.sglang.launcher.settings import Settings
from ppdsim.errors import InputError
from ppdsim.measure.managed_services import buffer_gpus, started
from ppdsim.measure.plan import load_plan
from ppdsim.types import Arm, Transport

HOST = Host(cores=(0,), nvlink_lanes={(0, 1): 18}, gpu_memory_bytes=(80 * 10**9,) * 2)
ON_GPUS = {"model": "m", "prefill_gpus": (0,), "decode_gpus": (1,), "unified_gpus": (1,)}


def services(links, tmp_path: Path, *, host=HOST, plan="quick", **settings):
    chosen = Settings(**{**ON_GPUS, **settings})
    return started(ENGINES["sglang"], load_plan(plan), chosen, links, host, tmp_path, progress=lambda progress: None)


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


def test_an_engine_without_a_cache_on_d_gives_full_hand_offs_and_their_loads(tmp_path):
    old = replace(HOST, decode_radix=False)
    found = services([Transport.TCP], tmp_path, host=old, plan="saturation")
    assert [(one.name, [arm for arm, _ in one.arms]) for one in found] == [
        ("unified", [Arm.APPEND_D]),
        ("hand-offs over tcp", [Arm.P_FULL]),
    ]
    assert not found[1].loads_only


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prefill_gpus": (0, 1), "decode_gpus": (2,)}, "--prefill-gpu 0,1: 2 GPUs, expected 1: "),
        ({"unified_gpus": (0, 1)}, "--unified-gpu 0,1: 2 GPUs, expected 1: "),
        (
            {"prefill_gpus": (0, 1), "decode_gpus": (2, 3, 4, 5), "unified_gpus": (), "tp": 2},
            "--decode-gpu 2,3,4,5: 4 GPUs, expected 2: ",
        ),
    ],
)
def test_several_servers_of_a_role_are_refused(settings, said, tmp_path):
    with pytest.raises(InputError, match=said):
        services([Transport.TCP], tmp_path, **settings)


def test_a_tensor_parallel_group_is_one_server(tmp_path):
    groups = {"prefill_gpus": (0, 1), "decode_gpus": (2, 3), "unified_gpus": (2, 3), "tp": 2}
    notes = [note for one in services([Transport.TCP], tmp_path, **groups) for note in one.notes]
    assert notes[0].startswith("unified: unified-0 on GPU 2,3; ")
    assert notes[1].startswith("hand-offs over tcp: prefill-0 on GPU 0,1, MC_FORCE_TCP=1")


def test_the_link_alone_is_measured_between_the_gpus_of_p_and_d(monkeypatch):
    from ppdsim.measure import managed_services as module

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
    (alone,) = started(
        ENGINES["sglang"], load_plan("quick"), settings, [], host, tmp_path / "logs", progress=lambda progress: None
    )

    async def look():
        async with alone.open():
            (pid,) = (pid for pid in left_over(tmp_path) if pid != os.getpid())
            return os.sched_getaffinity(pid), os.sched_getaffinity(0)

    server, client = asyncio.run(look())
    assert (server, client) == ({cores[0]}, {cores[1]})
    assert os.sched_getaffinity(0) == before
    assert f"unified: unified-0 on GPU 0, cores {cores[0]}" in alone.notes[0]
