"""Every check on a healthy machine, and on one spoilt in its way; the five troubles of the stack by their symptom."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from calibrate.doctor.machines import H200, FakeMachine

from ppdsim.calibrate.doctor import CHECKS, Status, examine
from ppdsim.calibrate.doctor.machine import ThisMachine

HEALTHY = FakeMachine()


def without(*packages: str) -> dict[str, str]:
    return {name: version for name, version in HEALTHY.versions.items() if name not in packages}


def other(**versions: str) -> dict[str, str]:
    return {**HEALTHY.versions, **{name.replace("_", "-"): version for name, version in versions.items()}}


CASES = {
    # name: (machine, row, status, part of what was found, part of the mend)
    "python too old": (
        replace(HEALTHY, python_version=(3, 9)),
        "python",
        "failure",
        "3.9, SGLang needs 3.10",
        "python3.12",
    ),
    "no driver": (replace(HEALTHY, driver_version=None, cards=()), "driver", "failure", "no NVIDIA", "nvidia-driver"),
    "no gpu": (replace(HEALTHY, cards=()), "gpus", "failure", "but no GPU", "ppdsim fake-stack"),
    "driver too old for torch": (
        replace(HEALTHY, driver_version="550.54.15"),
        "torch",
        "failure",
        "it needs 580.0 or later",
        "nvidia-driver",
    ),
    "torch without CUDA": (
        replace(HEALTHY, values={"torch.version.cuda": "None"}),
        "torch",
        "failure",
        "without CUDA",
        "ppdsim[live,engine]",
    ),
    "no torch": (
        replace(HEALTHY, versions=without("torch")),
        "torch",
        "failure",
        "not installed",
        "ppdsim[live,engine]",
    ),
    "gpu in use": (
        replace(HEALTHY, cards=(H200, replace(H200, processes=(4242,), free_bytes=10 * 2**30))),
        "gpu 1",
        "warning",
        "in use by processes 4242",
        "nvidia-smi -i 1",
    ),
    "no nvlink": (replace(HEALTHY, lanes={}), "links", "warning", "no NVLink between GPUs 0-1", "--transport rdma"),
    "no nvlink and no rdma": (
        replace(HEALTHY, lanes={}, folders={}),
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
    "no kernel package": (
        replace(HEALTHY, versions=without("sglang-kernel")),
        "kernel package",
        "failure",
        "not installed",
        "pip install sglang-kernel",
    ),
    "kernel package of old releases": (
        replace(HEALTHY, versions={**without("sglang-kernel"), "sglang": "0.5.5.post3", "torch": "2.8.0"}),
        "kernel package",
        "failure",
        "sgl-kernel is not installed",
        "pip install sgl-kernel",
    ),
    "trouble 1: kernel for another torch": (
        replace(
            HEALTHY,
            import_errors={"sgl_kernel": "ImportError: common_ops.so: undefined symbol: _ZNK3c106SymInt6sym_neERKS0_"},
        ),
        "kernel package",
        "failure",
        "built for another PyTorch",
        "--upgrade --no-cache-dir",
    ),
    "trouble 2: libibverbs": (
        replace(
            HEALTHY, import_errors={"mooncake.engine": "ImportError: libibverbs.so.1: cannot open shared object file"}
        ),
        "mooncake",
        "failure",
        "even for TCP",
        "apt-get install -y libibverbs1 rdma-core",
    ),
    "trouble 3: no RDMA devices": (
        replace(HEALTHY, folders={}),
        "rdma",
        "warning",
        "no RDMA devices",
        "--transport tcp",
    ),
    "trouble 4: device ordinal": (
        replace(HEALTHY, variables={"CUDA_VISIBLE_DEVICES": "1"}),
        "environment",
        "warning",
        "invalid device ordinal",
        "base-gpu-id",
    ),
    "trouble 5: apt sources": (
        replace(
            HEALTHY,
            files={"/etc/apt/sources.list": "# deb http://old-releases.x\ndeb http://OLD_MIRROR/ubuntu jammy main\n"},
        ),
        "apt",
        "warning",
        "names 'OLD_MIRROR'",
        "sed -i 's|OLD_MIRROR|NEW_MIRROR|g' /etc/apt/sources.list",
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
    return {finding.check: finding for finding in examine(machine, **options).findings}


def test_a_healthy_machine_needs_nothing():
    found = examine(HEALTHY)
    assert {finding.status for finding in found.findings} == {Status.OK}
    assert not any(finding.mend for finding in found.findings)
    assert found.transport == "nvlink"
    assert not found.failed
    assert "18 lanes" in rows(HEALTHY)["links"].found


@pytest.mark.parametrize("name", CASES)
def test_a_trouble_is_found_and_mended_by_name(name):
    machine, row, status, found, mend = CASES[name]
    finding = rows(machine)[row]
    assert finding.status.value == status
    assert found in finding.found
    assert mend in finding.mend
    assert examine(machine).failed is (status == "failure")


def test_every_check_has_a_case():
    spoilt = {row for _, row, *_ in CASES.values()}
    shown = {"gpus": {"gpus", "gpu 1"}, "kernel": {"kernel package"}}
    assert all(shown.get(name, {name}) & spoilt for name in CHECKS)


def test_one_gpu_shares_and_tcp_carries():
    one = replace(HEALTHY, cards=(H200,), lanes={}, folders={})
    assert "one GPU" in rows(one)["links"].found
    assert examine(one).transport == "tcp"


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
    assert "32 layers, 8 KV heads of 128, 128 KiB of KV a token" in finding.found


def test_a_folder_that_is_no_model(tmp_path):
    finding = rows(HEALTHY, model=tmp_path)["model"]
    assert finding.status is Status.FAILURE
    assert "no config.json" in finding.found


def test_this_machine_can_be_asked_everything():
    machine = ThisMachine()
    assert machine.version("pytest")
    assert machine.version("no-such-package") is None
    assert machine.import_error("json") is None
    assert "No module named" in machine.import_error("no_such_module")
    assert machine.evaluate("math.pi").startswith("3.14")
    assert machine.listing(Path("/no/such/folder")) == ()
    assert machine.read(Path("/no/such/file")) is None
