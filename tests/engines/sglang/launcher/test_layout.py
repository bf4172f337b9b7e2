"""Settings become exactly these commands; contradictions are refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from machine.machines import FakeMachine

from ppdsim.engines.launch.shell import environment, script
from ppdsim.engines.launch.specs import Host, Role
from ppdsim.engines.sglang.launcher.launcher import host_of
from ppdsim.engines.sglang.launcher.layout import chosen_transports, layout
from ppdsim.engines.sglang.launcher.settings import Settings
from ppdsim.errors import InputError
from ppdsim.types import Transport

HERE = Path(__file__).parent
HOST = Host(cores=tuple(range(16)), infiniband=False, nvlink_lanes={(0, 1): 18, (0, 2): 18, (1, 3): 18})
PROGRAMS: dict[str, Any] = {
    "engine_program": ("python", "-m", "sglang.launch_server"),
    "router_program": ("python", "-m", "sglang_router.launch_router"),
}
CASES: dict[str, dict[str, Any]] = {
    # The two pairs of the engine's notes for this stack, one GPU shared and two GPUs, and a unified server.
    "pair-tcp": {"prefill_gpus": (0,), "decode_gpus": (1,), "transport": "tcp"},
    "pair-nvlink-dummy": {
        "prefill_gpus": (0,),
        "decode_gpus": (1,),
        "dummy_weights": True,
        "max_total_tokens": 300_000,
    },
    "shared-gpu-delta": {
        "prefill_gpus": (0,),
        "decode_gpus": (0,),
        "decode_radix": True,
        "dummy_weights": True,
        "max_total_tokens": 65_536,
        "router": "mini-lb",
    },
    # As it ran on one H100.
    "shared-gpu-nvlink": {
        "prefill_gpus": (0,),
        "decode_gpus": (0,),
        "transport": "nvlink",
        "dummy_weights": True,
        "max_total_tokens": 32_768,
    },
    "two-and-two-tp2": {
        "prefill_gpus": (0, 1, 2, 3),
        "decode_gpus": (4, 5, 6, 7),
        "tp": 2,
        "transport": "rdma",
        "ib_device": "mlx5_0",
        "decode_flags": ("--max-running-requests", "64"),
    },
    "unified-pinned": {"unified_gpus": (0, 1), "cpu_pin": "auto", "engine_flags": ("--sleep-on-idle",)},
}


def specs(**changes: Any):
    return layout(Settings(model="/models/llama", **PROGRAMS, **changes), HOST)


@pytest.mark.parametrize("name", CASES)
def test_the_commands_are_those_on_file(name: str) -> None:
    made = script(specs(**CASES[name]), Path("logs"), {}) + "\n"
    assert made == (HERE / "golden" / f"{name}.sh").read_text()


def test_every_flag_and_variable_of_the_engine_s_notes_is_there() -> None:
    """From the notes on running this stack on two H200s, not from the golden files."""
    prefill, decode, _ = specs(prefill_gpus=(0,), decode_gpus=(1,), dummy_weights=True, decode_radix=True)
    common = (
        "--load-format dummy --skip-tokenizer-init --attention-backend fa3 --sampling-backend pytorch "
        "--grammar-backend none --page-size 64 --enable-metrics --enable-request-time-stats-logging"
    )
    for spec in (prefill, decode):
        assert common in " ".join(spec.argv)
        assert f"--disaggregation-mode {spec.role.value} --disaggregation-transfer-backend mooncake" in " ".join(
            spec.argv
        )
        assert spec.env["MC_INTRANODE_NVLINK"] == "true"
        assert spec.env["SGLANG_MOONCAKE_CUSTOM_MEM_POOL"] == "INTRA_NODE_NVLINK"
    assert "--disaggregation-decode-enable-radix-cache" in decode.argv
    assert "--disaggregation-decode-enable-radix-cache" not in prefill.argv
    assert [spec.env["CUDA_VISIBLE_DEVICES"] for spec in (prefill, decode)] == ["0", "1"]
    tcp = specs(prefill_gpus=(0,), decode_gpus=(1,), transport="tcp")[0].env
    assert (tcp["MC_FORCE_TCP"], tcp["MC_TCP_ENABLE_CONNECTION_POOL"]) == ("1", "1")


def test_the_router_listens_on_loopback_only_and_waits_for_its_workers_as_long_as_the_stack_does() -> None:
    changes = {"prefill_gpus": (0,), "decode_gpus": (1,), "start_timeout_s": 1200.5}
    words = " ".join(specs(**changes, host="localhost", ports={"metrics": 29_001})[-1].argv)
    # By name, the router would open its metrics on every interface.
    assert "--prometheus-host 127.0.0.1 --prometheus-port 29001" in words
    assert "--worker-startup-check-interval 1 --worker-startup-timeout-secs 1201" in words
    assert specs(**changes)[-1].held_ports == (30_000, 29_000)
    assert specs(**changes, router="mini-lb")[-1].held_ports == (30_000,)


@pytest.mark.parametrize(
    ("changes", "host", "link"),
    [
        ({"prefill_gpus": (0,), "decode_gpus": (1,)}, HOST, Transport.NVLINK),
        ({"prefill_gpus": (0, 1), "decode_gpus": (2, 3)}, HOST, Transport.TCP),
        # Within a GPU NVLink mode works when it is asked for, but what it shows is no link between GPUs.
        ({"prefill_gpus": (0,), "decode_gpus": (0,)}, HOST, Transport.TCP),
        ({"prefill_gpus": (0,), "decode_gpus": (0, 1)}, HOST, Transport.TCP),
        ({"prefill_gpus": (0,), "decode_gpus": (0,), "transport": "nvlink"}, HOST, Transport.NVLINK),
        ({"prefill_gpus": (2,), "decode_gpus": (3,)}, Host(cores=(0,), infiniband=True), Transport.RDMA),
        ({"prefill_gpus": (0,), "decode_gpus": (1,), "transport": "tcp"}, HOST, Transport.TCP),
    ],
)
def test_auto_takes_the_fastest_link_that_joins_all(changes: dict[str, Any], host: Host, link: Transport) -> None:
    assert chosen_transports(Settings(model="m", **changes), host)[0] is link


@pytest.mark.parametrize(
    ("settings", "host", "links"),
    [
        ({}, HOST, [Transport.NVLINK, Transport.TCP]),
        ({}, replace(HOST, infiniband=True), [Transport.NVLINK, Transport.RDMA, Transport.TCP]),
        ({"decode_gpus": (0,)}, HOST, [Transport.TCP]),
        ({"transport": "tcp"}, HOST, [Transport.TCP]),
    ],
)
def test_auto_has_every_link_that_joins_all(settings: dict[str, Any], host: Host, links: list[Transport]) -> None:
    used = {"prefill_gpus": (0,), "decode_gpus": (1,), **settings}
    assert list(chosen_transports(Settings(model="m", **used), host)) == links


def test_the_inherited_environment_cannot_choose_another_link() -> None:
    inherited = {"MC_FORCE_TCP": "1", "PATH": "/bin", "HTTP_PROXY": "http://proxy"}
    made = environment(specs(prefill_gpus=(0,), decode_gpus=(1,), transport="nvlink")[0], inherited)
    assert "MC_FORCE_TCP" not in made
    assert made["PATH"] == "/bin"
    assert made["no_proxy"] == "127.0.0.1"


def test_sharing_servers_start_one_after_another_and_the_router_beside_the_last() -> None:
    made = specs(prefill_gpus=(0, 1), decode_gpus=(0, 1), max_total_tokens=4096)
    assert [(spec.name, spec.wave) for spec in made] == [
        ("prefill-0", 0),
        ("prefill-1", 0),
        ("decode-0", 1),
        ("decode-1", 1),
        ("router", 1),
    ]
    assert made[-1].role is Role.ROUTER


def test_the_host_s_links_are_those_that_its_mooncake_can_use() -> None:
    made = host_of(FakeMachine())
    assert (made.infiniband, made.nvlink_lanes) == (True, {(0, 1): 18})
    old = {**FakeMachine().versions, "mooncake-transfer-engine-cuda13": "0.3.11.post1"}
    assert host_of(FakeMachine(versions=old)).nvlink_lanes == {}


@pytest.mark.parametrize(
    ("engine", "radix"), [("0.5.5.post3", False), ("0.5.11", False), ("0.5.12", True), ("0.5.17", True), (None, True)]
)
def test_the_host_s_engine_gives_d_a_cache_or_not(engine: str | None, radix: bool) -> None:
    others = {name: version for name, version in FakeMachine().versions.items() if name != "sglang"}
    assert (
        host_of(FakeMachine(versions=others if engine is None else {**others, "sglang": engine})).decode_radix is radix
    )


def test_pinned_servers_share_no_core_and_leave_some_to_the_client() -> None:
    made = specs(prefill_gpus=(0,), decode_gpus=(1,), cpu_pin="auto")
    cores = [set(spec.argv[2].split(",")) for spec in made]
    assert all(spec.argv[:2] == ("taskset", "-c") for spec in made)
    assert len(set.union(*cores)) == sum(map(len, cores)) == 12


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "no servers: give --prefill-gpu and --decode-gpu, or --unified-gpu"),
        ({"prefill_gpus": (0,)}, "--prefill-gpu and --decode-gpu belong together"),
        ({"unified_gpus": (0, 1, 2), "tp": 2}, "--unified-gpu 0,1,2: 3 GPUs, expected a multiple of --tp 2"),
        ({"unified_gpus": (0, 0), "tp": 2}, "needs 2 different GPUs"),
        ({"prefill_gpus": (0,), "decode_gpus": (0,)}, "GPU 0 is shared by prefill-0 and decode-0: give each a fixed"),
        ({"unified_gpus": (0,), "engine_flags": ("--base-gpu-id", "1")}, "--base-gpu-id: each server has CUDA_VIS"),
        ({"unified_gpus": (0, 1), "cpu_pin": "0-3"}, "1 lists of cores, expected 2: unified-0, unified-1"),
        ({"unified_gpus": (0,), "cpu_pin": "a-b"}, "'a-b' is no list of cores"),
        ({"unified_gpus": tuple(range(16)), "cpu_pin": "auto"}, "16 cores for 16 servers and the client"),
        ({"prefill_gpus": (0,), "decode_gpus": (1,), "transport": "tcp", "ib_device": "x"}, "ib_device x: the tran"),
        ({"unified_gpus": (0,), "ports": {"unified": 65_536}}, "65535"),
        ({"prefill_gpus": (0,), "decode_gpus": (1,), "ports": {"metrics": 30_100}}, "port 30100 is given to prefill-0"),
        (
            {"prefill_gpus": (0,), "decode_gpus": (1,), "ports": {"prefill": 9000}},
            "port 9000 is given to prefill-0 and to prefill-0",
        ),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises((InputError, ValueError)) as caught:
        specs(**changes)
    assert text in str(caught.value)
