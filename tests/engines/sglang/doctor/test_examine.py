"""Every check on a healthy machine, and on one spoilt in its way; every fix is a command that a shell can read."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from machine.machines import H200, LISTS, SOURCES, VALUES, FakeMachine

from ppdsim.engines.doctor import examine as module
from ppdsim.engines.doctor.finding import Status
from ppdsim.engines.sglang.doctor.examine import CHECKS, DOCTOR
from ppdsim.engines.sglang.doctor.software import TORCH
from ppdsim.engines.sglang.doctor.versions import PINS, numbers
from ppdsim.machine.host import ThisMachine
from ppdsim.machine.nvml import GpuUser

HEALTHY = FakeMachine()
PROC_DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Tue Jan  6 01:49:29 UTC 2026\n"
NO_NVML = {"pynvml": "ModuleNotFoundError: No module named 'pynvml'"}
NO_LIBRARY = {name: value for name, value in VALUES.items() if not name.startswith("ctypes")}


def without(*packages: str) -> dict[str, str]:
    return {name: version for name, version in HEALTHY.versions.items() if name not in packages}


def other(**versions: str) -> dict[str, str]:
    return {**HEALTHY.versions, **{name.replace("_", "-"): version for name, version in versions.items()}}


def used_by(*users: GpuUser, files: dict[str, tuple[str, ...]] | None = None) -> FakeMachine:
    """Return a machine whose second GPU is taken; `files` are those of folders."""
    card = replace(H200, users=users, free_bytes=10 * 2**30)
    return replace(HEALTHY, cards=(H200, card), folders={**HEALTHY.folders, **(files or {})})


def evaluates(cuda: str = "13.0", sees: str = "True") -> dict[str, str]:
    """Return what expressions give, where torch says something else: its build, and whether it sees GPUs."""
    return {**VALUES, TORCH: f"{cuda} {sees}"}


def apt(*lists: str, **files: str) -> dict[str, object]:
    """Return folders and files of a machine with these APT sources (``ubuntu_sources`` for ubuntu.sources)."""
    named = {f"/etc/apt/sources.list.d/{name.replace('_', '.')}": text for name, text in files.items()}
    folders = {
        **HEALTHY.folders,
        "/var/lib/apt/lists": lists,
        "/etc/apt/sources.list.d": tuple(Path(name).name for name in named),
    }
    return {"folders": folders, "files": named}


OLD_LIST = "deb http://OLD_MIRROR/ubuntu jammy main\n"
STANZA = "Types: deb\nURIs: http://mirror.gone.example/debian\nSuites: trixie\nComponents: main\n"

CASES = {
    # name: (machine, row, status, part of what was found, part of the fix)
    "python too old": (
        replace(HEALTHY, python_version=(3, 9)),
        "python",
        "failure",
        "3.9, SGLang 0.5.17 needs 3.10",
        "python3.12",
    ),
    "python too old for this SGLang": (
        replace(HEALTHY, python_version=(3, 10), versions=other(sglang="0.5.23")),
        "python",
        "failure",
        "3.10, SGLang 0.5.23 needs 3.11",
        "python3.12",
    ),
    "no driver": (
        replace(HEALTHY, driver_version=None, cards=(), values=NO_LIBRARY),
        "driver",
        "failure",
        "no NVIDIA driver",
        "apt-get install -y nvidia-driver",
    ),
    "no driver, so no GPU": (
        replace(HEALTHY, driver_version=None, cards=(), values=NO_LIBRARY),
        "gpus",
        "failure",
        "no GPU",
        "ppdsim fake-stack",
    ),
    "no nvidia-ml-py, the driver's library is there": (
        replace(HEALTHY, driver_version=None, cards=(), lanes={}, import_errors=NO_NVML),
        "driver",
        "warning",
        "nvidia-ml-py is not installed",
        "pip install nvidia-ml-py",
    ),
    "no nvidia-ml-py, the driver's module is there": (
        replace(
            HEALTHY,
            driver_version=None,
            cards=(),
            lanes={},
            import_errors=NO_NVML,
            values=NO_LIBRARY,
            files={"/proc/driver/nvidia/version": PROC_DRIVER},
        ),
        "driver",
        "warning",
        "580.159.04; nvidia-ml-py is not installed",
        "pip install nvidia-ml-py",
    ),
    "no nvidia-ml-py, so GPUs are not seen": (
        replace(HEALTHY, driver_version=None, cards=(), lanes={}, import_errors=NO_NVML),
        "gpus",
        "warning",
        "not seen: nvidia-ml-py is not installed",
        "pip install nvidia-ml-py",
    ),
    "a driver that does not answer": (
        replace(
            HEALTHY,
            driver_version=None,
            cards=(),
            files={
                "/proc/driver/nvidia/version": "NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build"
            },
        ),
        "driver",
        "failure",
        "580.65.06, but NVML does not answer",
        "nvidia-smi",
    ),
    "no gpu": (replace(HEALTHY, cards=()), "gpus", "failure", "but no GPU", "ppdsim fake-stack"),
    "driver too old for torch": (
        replace(HEALTHY, driver_version="550.54.15"),
        "torch",
        "failure",
        "it needs 580.0 or later",
        "nvidia-driver",
    ),
    "driver too old for torch, known without NVML": (
        replace(
            HEALTHY,
            driver_version=None,
            cards=(),
            import_errors=NO_NVML,
            files={"/proc/driver/nvidia/version": PROC_DRIVER.replace("580.159.04", "535.104.05")},
        ),
        "torch",
        "failure",
        "driver 535.104.05, it needs 580.0 or later",
        "nvidia-driver",
    ),
    "torch without CUDA": (
        replace(HEALTHY, values=evaluates(cuda="None")),
        "torch",
        "failure",
        "without CUDA",
        "pip install --force-reinstall torch==2.11.0",
    ),
    "torch that does not import": (
        replace(
            HEALTHY,
            values={"ctypes.CDLL('libnvidia-ml.so.1')": "there"},
            import_errors={"torch": "OSError: libcudart.so.13: cannot open shared object file: No such file"},
        ),
        "torch",
        "failure",
        "libcudart.so.13",
        "pip install --force-reinstall torch==2.11.0",
    ),
    "torch that sees no GPU": (
        replace(HEALTHY, values=evaluates(sees="False")),
        "torch",
        "failure",
        "torch.cuda.is_available() is False",
        "torch.cuda.init()",
    ),
    "GPUs hidden from torch": (
        replace(HEALTHY, values=evaluates(sees="False"), variables={"CUDA_VISIBLE_DEVICES": "-1"}),
        "torch",
        "failure",
        "CUDA_VISIBLE_DEVICES=-1",
        "unset CUDA_VISIBLE_DEVICES",
    ),
    "torch for the CUDA of older SGLang": (
        replace(HEALTHY, values=evaluates(cuda="12.8")),
        "torch",
        "warning",
        "SGLang 0.5.17 is built for CUDA 13",
        "torch==2.11.0 --index-url https://download.pytorch.org/whl/cu130",
    ),
    "no torch": (
        replace(HEALTHY, versions=without("torch")),
        "torch",
        "failure",
        "not installed",
        "ppdsim[live,engine]",
    ),
    "gpu in use": (
        used_by(GpuUser(pid=4242, name="python3.12"), GpuUser(pid=4711)),
        "gpu 1",
        "warning",
        "in use by process 4242 (python3.12), process 4711 (unknown)",
        "nvidia-smi -i 1",
    ),
    "gpu in use by whom NVML does not say": (
        replace(HEALTHY, cards=(H200, replace(H200, free_bytes=10 * 2**30))),
        "gpu 1",
        "warning",
        "in use by somebody",
        "nvidia-smi -i 1",
    ),
    "gpu in use by servers that were left running": (
        used_by(
            GpuUser(pid=1392, name="sglang::scheduler", log=Path("/home/me/my logs/decode-0.log")),
            GpuUser(pid=1400, name="sglang::scheduler", log=Path("/home/me/my logs/decode-1.log")),
            files={"/home/me/my logs": ("decode-0.log", "servers.json")},
        ),
        "gpu 1",
        "warning",
        "process 1392 (sglang::scheduler, decode-0 of ppdsim, log /home/me/my logs/decode-0.log), process 1400",
        "ppdsim serve --stop '/home/me/my logs'",
    ),
    "gpu in use by a server whose folder is gone": (
        used_by(GpuUser(pid=1392, name="sglang::scheduler", log=Path("/gone/decode-0.log"))),
        "gpu 1",
        "warning",
        "decode-0 of ppdsim, log /gone/decode-0.log",
        "nvidia-smi -i 1",
    ),
    "no nvlink": (replace(HEALTHY, lanes={}), "links", "warning", "no NVLink between GPUs 0-1", "--transport rdma"),
    "nvlink between some": (
        replace(HEALTHY, cards=(H200,) * 4, lanes={(0, 1): 12, (2, 3): 18}),
        "links",
        "warning",
        "no NVLink between GPUs 0-2, 0-3, 1-2, 1-3; elsewhere 18 lanes (2-3), 12 lanes (0-1)",
        "ppdsim serve --model MODEL --prefill-gpu 0 --decode-gpu 1 --transport nvlink",
    ),
    "no nvlink and no rdma": (
        replace(HEALTHY, lanes={}, folders={"/var/lib/apt/lists": LISTS}),
        "links",
        "warning",
        "no NVLink",
        "--transport tcp",
    ),
    "no sglang": (
        replace(HEALTHY, versions=without("sglang")),
        "sglang",
        "failure",
        "not installed",
        "ppdsim[live,engine]",
    ),
    "transformers that breaks it": (
        replace(HEALTHY, versions=other(transformers="5.17.0")),
        "sglang",
        "warning",
        "transformers 5.17.0 where it pins 5.12.1",
        "pip install transformers==5.12.1",
    ),
    "torch of another release": (
        replace(HEALTHY, versions=other(torch="2.9.1")),
        "sglang",
        "warning",
        "torch 2.9.1 where it pins 2.11.0",
        "torch==2.11.0",
    ),
    "sglang that does not import": (
        replace(HEALTHY, import_errors={"sglang.launch_server": "ModuleNotFoundError: No module named 'orjson'"}),
        "sglang",
        "failure",
        "No module named 'orjson'",
        "pip install sglang==0.5.17",
    ),
    "sglang that does not import with this transformers": (
        replace(
            HEALTHY,
            versions=other(transformers="5.17.0"),
            import_errors={
                "sglang.launch_server": "ValueError: 'qwen3_asr' is already used by a Transformers config, pick another"
            },
        ),
        "sglang",
        "failure",
        "transformers 5.17.0 where it pins 5.12.1",
        "pip install transformers==5.12.1",
    ),
    "sglang that nobody looked at": (
        replace(HEALTHY, versions=other(sglang="0.6.0")),
        "sglang",
        "warning",
        "none of the releases that were looked at (0.5.5.post3 to 0.5.23)",
        "pip check",
    ),
    "no kernel package": (
        replace(HEALTHY, versions=without("sglang-kernel")),
        "kernel package",
        "failure",
        "not installed",
        "pip install sglang-kernel==0.4.5",
    ),
    "kernel package too old": (
        replace(HEALTHY, versions=other(sglang_kernel="0.4.2.post2")),
        "kernel package",
        "failure",
        "SGLang 0.5.17 pins 0.4.5 and starts with nothing older",
        "pip install sglang-kernel==0.4.5",
    ),
    "kernel package too old, and the engine told not to mind": (
        replace(
            HEALTHY,
            versions=other(sglang_kernel="0.4.4"),
            variables={"SGLANG_SKIP_SGL_KERNEL_VERSION_CHECK": "1"},
        ),
        "kernel package",
        "warning",
        "pins 0.4.5",
        "pip install sglang-kernel==0.4.5",
    ),
    "kernel package too old by a post-release": (
        replace(
            HEALTHY,
            versions={
                **without("sglang-kernel"),
                "sglang": "0.5.5.post3",
                "torch": "2.8.0",
                "sgl-kernel": "0.3.17",
                "flashinfer-python": "0.5.2",
            },
        ),
        "kernel package",
        "failure",
        "SGLang 0.5.5.post3 pins 0.3.17.post1",
        "pip install sgl-kernel==0.3.17.post1",
    ),
    "kernel package too new": (
        replace(HEALTHY, versions=other(sglang_kernel="0.4.10")),
        "kernel package",
        "warning",
        "SGLang 0.5.17 pins 0.4.5",
        "pip install sglang-kernel==0.4.5",
    ),
    "no flashinfer": (
        replace(HEALTHY, versions=without("flashinfer-python")),
        "flashinfer",
        "failure",
        "not installed",
        "pip install flashinfer-python==0.6.15.post1",
    ),
    "flashinfer of another release": (
        replace(HEALTHY, versions=other(flashinfer_python="0.6.12")),
        "flashinfer",
        "warning",
        "SGLang 0.5.17 pins 0.6.15.post1",
        "pip install flashinfer-python==0.6.15.post1",
    ),
    "flashinfer beside kernels of another release": (
        replace(HEALTHY, versions=other(flashinfer_cubin="0.6.12")),
        "flashinfer",
        "failure",
        "flashinfer-python 0.6.15.post1 with flashinfer-cubin 0.6.12",
        "pip install flashinfer-cubin==0.6.15.post1",
    ),
    "kernel package of old releases": (
        replace(HEALTHY, versions={**without("sglang-kernel"), "sglang": "0.5.5.post3", "torch": "2.8.0"}),
        "kernel package",
        "failure",
        "sgl-kernel is not installed",
        "pip install sgl-kernel==0.3.17.post1",
    ),
    "issue 1: kernel for another torch": (
        replace(
            HEALTHY,
            import_errors={"sgl_kernel": "ImportError: common_ops.so: undefined symbol: _ZNK3c106SymInt6sym_neERKS0_"},
        ),
        "kernel package",
        "failure",
        "built for another PyTorch",
        "pip install --upgrade --no-cache-dir sglang-kernel==0.4.5 torch==2.11.0",
    ),
    "issue 2: libibverbs": (
        replace(
            HEALTHY, import_errors={"mooncake.engine": "ImportError: libibverbs.so.1: cannot open shared object file"}
        ),
        "mooncake",
        "failure",
        "even for TCP",
        "apt-get install -y libibverbs1 rdma-core",
    ),
    "issue 3: no RDMA devices": (
        replace(HEALTHY, folders={}, lanes={}),
        "rdma",
        "warning",
        "no RDMA devices, and no NVLink",
        "export MC_FORCE_TCP=1",
    ),
    "issue 4: device ordinal": (
        replace(HEALTHY, variables={"CUDA_VISIBLE_DEVICES": "1"}),
        "environment",
        "warning",
        "invalid device ordinal",
        "base-gpu-id",
    ),
    "issue 5: apt sources": (
        replace(HEALTHY, files={"/etc/apt/sources.list": SOURCES + OLD_LIST}),
        "apt",
        "warning",
        "/etc/apt/sources.list names http://OLD_MIRROR/ubuntu, which is no mirror",
        "sed -i 's|http://OLD_MIRROR/ubuntu|http://archive.ubuntu.com/ubuntu|g' /etc/apt/sources.list && apt-get upd",
    ),
    "apt sources in a file of their own": (
        replace(HEALTHY, **apt(more_list=OLD_LIST)),
        "apt",
        "warning",
        "/etc/apt/sources.list.d/more.list names http://OLD_MIRROR/ubuntu",
        "/etc/apt/sources.list.d/more.list && apt-get update",
    ),
    "apt sources in stanzas, of which nothing ever came": (
        replace(HEALTHY, **apt(*LISTS, debian_sources=STANZA)),
        "apt",
        "warning",
        "http://mirror.gone.example/debian, which apt-get update never got a list from",
        "s|http://mirror.gone.example/debian|http://deb.debian.org/debian|g' /etc/apt/sources.list.d/debian.sources",
    ),
    "somebody else's apt source that does not answer": (
        replace(HEALTHY, files={"/etc/apt/sources.list": "deb https://gone.example/cuda ./\n"}),
        "apt",
        "warning",
        "https://gone.example/cuda, which apt-get update never got",
        "apt-get update",
    ),
    "no active apt source": (
        replace(HEALTHY, files={"/etc/apt/sources.list": "# deb http://archive.ubuntu.com/ubuntu jammy main\n"}),
        "apt",
        "warning",
        "no active source",
        "cat /etc/apt/sources.list",
    ),
    "a library that crashes": (
        replace(HEALTHY, import_errors={"mooncake.engine": "\nthe process was killed by signal 11"}),
        "mooncake",
        "failure",
        "killed by signal 11",
        "pip install --force-reinstall",
    ),
    "mooncake for another CUDA": (
        replace(
            HEALTHY, versions={**without("mooncake-transfer-engine-cuda13"), "mooncake-transfer-engine": "0.3.7.post2"}
        ),
        "mooncake",
        "warning",
        "goes with mooncake-transfer-engine-cuda13",
        "pip install mooncake-transfer-engine-cuda13",
    ),
    "no mooncake": (
        replace(HEALTHY, versions=without("mooncake-transfer-engine-cuda13")),
        "mooncake",
        "failure",
        "not installed",
        "cuda13",
    ),
    "no router": (
        replace(HEALTHY, versions=without("sglang-router")),
        "router",
        "failure",
        "not installed",
        "ppdsim[live]",
    ),
    "router that does not import": (
        replace(
            HEALTHY, import_errors={"sglang_router.launch_router": "ModuleNotFoundError: No module named 'orjson'"}
        ),
        "router",
        "failure",
        "does not import: ModuleNotFoundError: No module named 'orjson'",
        "pip install --force-reinstall sglang-router==0.3.2",
    ),
    "port taken": (replace(HEALTHY, taken=(30100,)), "ports", "warning", "30100 (prefill)", "ss -ltnp"),
    "a proxy": (
        replace(HEALTHY, variables={"http_proxy": "http://proxy:3128"}),
        "environment",
        "warning",
        "http_proxy",
        "no_proxy=127.0.0.1",
    ),
}


def rows(machine, **options):
    return {finding.check: finding for finding in DOCTOR.examine(machine, **options).findings}


def test_a_healthy_machine_needs_nothing():
    found = DOCTOR.examine(HEALTHY)
    assert {finding.status for finding in found.findings} == {Status.OK}
    assert not any(finding.fix for finding in found.findings)
    assert found.transport == "nvlink"
    assert not found.failed
    assert "18 lanes" in rows(HEALTHY)["links"].found


@pytest.mark.parametrize("name", CASES)
def test_a_known_issue_is_found_with_its_fix_by_name(name):
    machine, row, status, found, fix = CASES[name]
    finding = rows(machine)[row]
    assert finding.status.value == status
    assert found in finding.found
    assert fix in finding.fix
    assert DOCTOR.examine(machine).failed is (status == "failure")


@pytest.mark.parametrize("name", CASES)
def test_every_mend_can_be_pasted(name):
    machine = CASES[name][0]
    for finding in DOCTOR.examine(machine).findings:
        assert finding.status is Status.OK or finding.fix
        if finding.fix:
            assert_pasteable(finding.fix)


def assert_pasteable(fix: str) -> None:
    assert re.match(r"(apt-get|cat|dmesg|export|less|nvidia-smi|pip|ppdsim|python|sed|ss|unset) ?", fix), fix
    subprocess.run(["bash", "-n", "-c", fix], check=True)


@dataclass(frozen=True)
class Slow(FakeMachine):
    """A machine whose libraries take as long to import as `wait` does."""

    wait: Callable[[], object] = bool

    def import_error(self, *modules: str) -> str | None:
        if modules[-1] in ("mooncake.engine", "sglang_router.launch_router"):
            self.wait()
            return f"ImportError: no {modules[-1]}"
        return None


def test_checks_that_take_long_run_side_by_side_and_keep_their_own_messages():
    meeting = threading.Barrier(2, timeout=20.0)
    found = rows(Slow(wait=meeting.wait))
    assert found["mooncake"].found.endswith("ImportError: no mooncake.engine")
    assert found["router"].found.endswith("ImportError: no sglang_router.launch_router")
    assert list(found) == list(rows(HEALTHY))


def test_what_is_waited_for_is_told(monkeypatch):
    monkeypatch.setattr(module, "TOLD_EVERY_S", 0.01)
    end = threading.Event()
    told = []

    def waiting(names):
        told.append(names)
        if names == ("mooncake", "router"):
            end.set()

    DOCTOR.examine(Slow(wait=lambda: end.wait(20.0)), waiting=waiting)
    assert ("mooncake", "router") in told
    told.clear()
    DOCTOR.examine(HEALTHY, waiting=told.append)
    assert not told


def test_an_interrupt_does_not_wait_for_the_checks_that_have_not_begun(monkeypatch):
    monkeypatch.setattr(module, "TOLD_EVERY_S", 0.01)
    monkeypatch.setattr(module, "AT_ONCE", 1)
    end, began = threading.Event(), []

    def wait():
        began.append(1)
        return end.wait(20.0)

    def waiting(names):
        if began:
            # One thread, and mooncake holds it: the router's check is still to come.
            end.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DOCTOR.examine(Slow(wait=wait), waiting=waiting)
    assert len(began) == 1


def test_every_check_has_a_case_and_a_row_where_all_is_well():
    spoilt = {row for _, row, *_ in CASES.values()}
    shown = {"gpus": {"gpus", "gpu 1"}, "kernel": {"kernel package"}}
    assert all(shown.get(name, {name}) & spoilt for name in CHECKS)
    well = {finding.check for finding in DOCTOR.examine(HEALTHY).findings}
    assert all(shown.get(name, {name}) & well for name in CHECKS)


@pytest.mark.parametrize("pins", PINS, ids=lambda pins: pins.sglang)
def test_a_machine_with_what_a_release_pins_needs_nothing(pins):
    new = numbers(pins.sglang) >= (0, 5, 11, 0)
    machine = replace(
        HEALTHY,
        values=evaluates(cuda="13.0" if new else "12.8"),
        versions={
            "sglang": pins.sglang,
            "torch": pins.torch,
            pins.kernel: pins.kernel_version,
            "flashinfer-python": pins.flashinfer,
            "transformers": pins.transformers,
            "mooncake-transfer-engine-cuda13" if new else "mooncake-transfer-engine": "0.3.13",
            "sglang-router": "0.3.2",
        },
    )
    assert [finding for finding in DOCTOR.examine(machine).findings if finding.status is not Status.OK] == []


def test_the_machine_that_the_project_began_with_is_seen_as_it_was():
    """Four H100s with NVLink and no RDMA; SGLang from source with other versions than it pins: it served, over TCP."""
    h100 = replace(H200, name="NVIDIA H100 80GB HBM3", memory_bytes=80 * 2**30, free_bytes=79 * 2**30)
    machine = replace(
        HEALTHY,
        python_version=(3, 10),
        driver_version="535.129.03",
        cards=(h100,) * 4,
        lanes={(a, b): 18 for a in range(4) for b in range(a + 1, 4)},
        folders={},
        values=evaluates(cuda="12.8"),
        versions={
            "sglang": "0.5.5.post3",
            "torch": "2.9.1",
            "sgl-kernel": "0.3.18.post1",
            "flashinfer-python": "0.2.7.post1",
            "transformers": "4.57.1",
            "mooncake-transfer-engine": "0.3.7.post2",
            "sglang-router": "0.2.3",
        },
    )
    found = DOCTOR.examine(machine)
    warned = {finding.check: finding.found for finding in found.findings if finding.status is Status.WARNING}
    assert not found.failed
    assert found.transport == "tcp"
    assert set(warned) == {"sglang", "kernel package", "flashinfer", "rdma", "links"}
    assert "hand-offs go by TCP" in warned["rdma"]
    assert "torch 2.9.1 where it pins 2.8.0" in warned["sglang"]
    assert "sgl-kernel 0.3.18.post1, imports; SGLang 0.5.5.post3 pins 0.3.17.post1" in warned["kernel package"]


def test_apt_sources_that_are_fine_have_a_row():
    assert rows(HEALTHY)["apt"].found == "mirrors: 2, lists are there"
    fresh = replace(
        HEALTHY, **apt(ubuntu_sources="Types: deb\nURIs: http://archive.ubuntu.com/ubuntu/\nSuites: noble\n")
    )
    assert rows(fresh)["apt"].found == "mirrors: 1, no lists yet (apt-get update)"
    disabled = replace(
        HEALTHY, **apt(*LISTS, a_list=SOURCES, b_sources="Enabled: no\nURIs: http://OLD_MIRROR/ubuntu\n")
    )
    assert rows(disabled)["apt"].status is Status.OK
    assert rows(replace(HEALTHY, files={}))["apt"].status is Status.OK


@pytest.mark.parametrize(
    ("mooncake", "transport"),
    [
        ({"mooncake-transfer-engine-cuda13": "0.3.13.post1"}, "nvlink"),
        ({"mooncake-transfer-engine-cuda13": "0.3.11.post1"}, "tcp"),
        ({"mooncake-transfer-engine-non-cuda": "0.3.13.post1"}, "tcp"),
        ({}, "nvlink"),
    ],
)
def test_the_transport_to_take_is_one_that_this_mooncake_has(mooncake, transport):
    versions = {**without("mooncake-transfer-engine-cuda13"), **mooncake}
    machine = replace(HEALTHY, folders={}, versions=versions)
    links = rows(machine)["links"]
    assert DOCTOR.examine(machine).transport == transport
    assert f"--transport {transport}" in links.found + links.fix
    assert ("which this mooncake cannot use" in links.found) is (transport == "tcp")
    assert links.fix.startswith("pip install --upgrade") is (transport == "tcp")


def test_a_gpu_s_row_says_what_it_is_and_what_it_has_free():
    assert rows(HEALTHY)["gpu 1"].found == (
        "NVIDIA H200, 140 of 140 GiB free, compute capability 9.0, 1980 of 1980 MHz"
    )


NAMES_A_GPU = re.compile(r"\bGPUs? (\d[\d, \-and]*)|-gpus?[ =](\d+)|nvidia-smi -i (\d+)")
"""What names GPUs by number: in words (pairs as 0-1 too), as an option of a command, and to nvidia-smi."""


@pytest.mark.parametrize("count", [0, 1, 2, 4])
@pytest.mark.parametrize("lanes", [{}, {(0, 1): 18}, {(2, 3): 18}], ids=str)
@pytest.mark.parametrize("rdma", [False, True])
@pytest.mark.parametrize("mooncake", ["0.3.14", "0.3.13"])
def test_no_row_names_a_gpu_that_is_not_there(tmp_path, count, lanes, rdma, mooncake):
    here = {pair: number for pair, number in lanes.items() if max(pair) < count}
    used = replace(H200, users=(GpuUser(pid=7, name="x"),), free_bytes=0)
    machine = replace(
        HEALTHY,
        cards=(used,) * count,
        lanes=here,
        folders=HEALTHY.folders if rdma else {},
        versions=other(mooncake_transfer_engine_cuda13=mooncake),
    )
    found = [
        row
        for names in ((), ("w.bin",))
        for row in DOCTOR.examine(machine, model=model_folder(tmp_path, *names)).findings
    ]
    for row in found:
        if row.fix.endswith("# on a machine with a GPU"):
            assert count == 0
            continue
        named = " ".join(part for text in (row.found, row.fix) for part in map("".join, NAMES_A_GPU.findall(text)))
        assert all(int(number) < count for number in re.findall(r"\d+", named)), row
    if not rdma and (0, 1) not in here:
        row = next(row for row in found if row.check == "rdma")
        lacks = {0: "no GPU seen", 1: "one GPU, which no NVLink joins to itself"}
        other_link = lacks.get(count, "no NVLink that joins GPUs 0 and 1")
        assert row.found == f"no RDMA devices, and {other_link}: hand-offs go by TCP"


def test_one_gpu_can_be_shared():
    one = replace(HEALTHY, cards=(H200,), lanes={}, folders={})
    assert DOCTOR.examine(one).transport == "tcp"
    found = rows(one)["links"].found
    assert "P and D can share it (--max-total-tokens); take --transport tcp, or --transport nvlink" in found


def model_folder(tmp_path: Path, *names: str) -> Path:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in names:
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("names", "status", "part"),
    [
        ((), Status.WARNING, "no weights"),
        (("model-00001.safetensors",), Status.WARNING, "no tokenizer"),
        (("model-00001.safetensors", "tokenizer.json"), Status.OK, "weights and tokenizer"),
    ],
)
def test_a_model_folder(tmp_path, names, status, part):
    finding = rows(HEALTHY, model=model_folder(tmp_path, *names))["model"]
    assert finding.status is status
    assert part in finding.found
    if finding.fix:
        assert_pasteable(finding.fix)
    assert "32 layers, 8 KV heads of 128, 128 KiB of KV a token" in finding.found


OTHERS = {
    "MoE": (
        {"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 128},
        "Qwen3MoeForCausalLM (mixture of experts (MoE)), served by the engine",
    ),
    "MLA": (
        {"architectures": ["DeepseekV3ForCausalLM"], "kv_lora_rank": 512, "n_routed_experts": 256},
        "DeepseekV3ForCausalLM (multi-head latent attention (MLA) and mixture of experts (MoE)), served by the engine",
    ),
    "sliding window": (
        {"architectures": ["MistralForCausalLM"], "sliding_window": 4096},
        "MistralForCausalLM (attention in a sliding window of 4096 tokens), served by the engine",
    ),
    "unknown": ({"architectures": ["NewForCausalLM"]}, "NewForCausalLM, the engine says whether it serves it"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_model_that_the_curves_do_not_cover_is_no_failure(tmp_path, kind):
    config, said = OTHERS[kind]
    (tmp_path / "config.json").write_text(json.dumps(config))
    finding = rows(HEALTHY, model=tmp_path)["model"]
    assert finding.status is Status.WARNING
    assert f"{said}; ppdsim calibrate, fit and derive do not cover it; no weights" in finding.found
    (tmp_path / "model.safetensors").write_text("")
    (tmp_path / "tokenizer.json").write_text("")
    finding = rows(HEALTHY, model=tmp_path)["model"]
    assert (finding.status, finding.fix) == (Status.WARNING, "")
    assert not DOCTOR.examine(HEALTHY, model=tmp_path).failed


def test_no_row_forces_tcp_where_nvlink_is_taken():
    for machine in (replace(HEALTHY, folders={}), HEALTHY):
        found = DOCTOR.examine(machine)
        assert found.transport == "nvlink"
        assert not [row for row in found.findings if "MC_FORCE_TCP" in row.fix or "--transport tcp" in row.fix]
    assert rows(replace(HEALTHY, folders={}))["rdma"].status is Status.OK


def test_each_check_says_how_long_it_took_and_torch_is_asked_once():
    asked = []

    class Asked(FakeMachine):
        def evaluate(self, expression: str) -> str | None:
            asked.append(expression)
            return super().evaluate(expression)

    found = DOCTOR.examine(Asked())
    assert list(found.took_s) == list(CHECKS)
    assert all(seconds >= 0.0 for seconds in found.took_s.values())
    assert [one for one in asked if "torch" in one] == [TORCH]


def test_every_check_begins_at_once():
    """One that waits for a driver or a cold disk keeps none of the others from beginning."""
    meeting = threading.Barrier(len(CHECKS), timeout=20.0)

    def meets(check):
        def run(machine):
            meeting.wait()
            return check(machine)

        return run

    together = replace(DOCTOR, checks={name: meets(check) for name, check in CHECKS.items()})
    assert not together.examine(HEALTHY).failed


def test_a_folder_that_is_no_model(tmp_path):
    finding = rows(HEALTHY, model=tmp_path)["model"]
    assert finding.status is Status.FAILURE
    assert "no config.json" in finding.found


def test_a_library_that_crashes_or_hangs_ends_its_own_process_only(tmp_path, monkeypatch):
    (tmp_path / "crashes.py").write_text("import os; os.kill(os.getpid(), 11)\n")
    (tmp_path / "hangs.py").write_text("import time; time.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("ppdsim.machine.host.IMPORT_TIMEOUT_S", 0.5)
    assert ThisMachine().import_error("crashes").endswith("the process was killed by signal 11")
    assert ThisMachine().import_error("hangs") == "did not end within 0.5 s"


def test_this_machine_can_be_asked_everything():
    machine = ThisMachine()
    assert machine.version("pytest")
    assert machine.version("no-such-package") is None
    assert machine.import_error("json", "math") is None
    assert "No module named" in machine.import_error("json", "no_such_module")
    assert "No module named" in machine.import_error("no_such_module")
    assert machine.evaluate("math.pi").startswith("3.14")
    assert machine.listing(Path("/no/such/folder")) == ()
    assert machine.read(Path("/no/such/file")) is None
