"""Known issues by their symptom: the text of an error or log is recognised, and its fix is a command to paste."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ppdsim.engines.sglang.known_issues import KNOWN_ISSUES

BY_NAME = {issue.name: issue for _, issue in KNOWN_ISSUES.symptoms}
SYMPTOMS = {
    # The five of the stack's setup notes, as the programs print them; (text, name, part of the fix).
    "kernel undefined symbol": (
        "ImportError: /x/sgl_kernel/common_ops.abi3.so: undefined symbol: _ZNK3c106SymInt6sym_neERKS0_",
        "kernel-package",
        "pip install --upgrade --no-cache-dir sglang-kernel",
    ),
    "kernel undefined symbol, the symbol alone": (
        "undefined symbol: _ZNK3c106SymInt6sym_neERKS0_",
        "kernel-package",
        "pip install --upgrade --no-cache-dir sglang-kernel",
    ),
    "libibverbs missing": (
        "ImportError: libibverbs.so.1: cannot open shared object file: No such file or directory",
        "rdma-libraries",
        "apt-get install -y libibverbs1 rdma-core",
    ),
    "another library that mooncake links": (
        "ImportError: libnuma.so.1: cannot open shared object file: No such file or directory",
        "rdma-libraries",
        "libnuma1",
    ),
    "no RDMA devices": ("No RDMA devices found", "no-rdma-device", "MC_FORCE_TCP=1"),
    "no RDMA devices, as mooncake logs it": (
        "E1126 10:02:11.190421 12 rdma_transport.cpp:560] RdmaTransport: No available RNIC",
        "no-rdma-device",
        "MC_FORCE_TCP=1",
    ),
    "invalid device ordinal": (
        "torch.AcceleratorError: CUDA error: invalid device ordinal",
        "device-ordinal",
        "unset CUDA_VISIBLE_DEVICES",
    ),
    "broken APT sources: no such host": (
        "Err:1 http://old.mirror/ubuntu jammy InRelease\n  Could not resolve 'old.mirror'",
        "apt-sources",
        "sed -i",
    ),
    "broken APT sources: no release": (
        "E: The repository 'http://old.mirror/ubuntu kinetic Release' does not have a Release file.",
        "apt-sources",
        "apt-get update",
    ),
    "broken APT sources: not fetched": (
        "E: Failed to fetch http://old.mirror/debian/pool/main/r/rdma-core/libibverbs1_44.deb  404  Not Found",
        "apt-sources",
        "apt-get update",
    ),
    "out of memory": ("torch.OutOfMemoryError: CUDA out of memory. Tried", "out-of-memory", "nvidia-smi"),
    "port taken": ("OSError: [Errno 98] Address already in use", "port-taken", "ss -ltnp"),
    "kernel package older than the engine wants": (
        "Exception: sglang-kernel is installed with version 0.4.2, which is less than the minimum required version 1",
        "package-versions",
        "ppdsim doctor",
    ),
    "two releases of flashinfer": (
        "RuntimeError: flashinfer-cubin version (0.6.12) does not match flashinfer version (0.6.14).",
        "package-versions",
        "ppdsim doctor",
    ),
    "transformers": (
        "ValueError: 'qwen3_asr' is already used by a Transformers config, pick another name.",
        "transformers-version",
        "pip install transformers==5.12.1",
    ),
    "a missing module": ("ModuleNotFoundError: No module named 'flashinfer'", "missing-library", "ppdsim doctor"),
    "no queue pair": (
        "E0729 05:04:30.527725 14093 rdma_endpoint.cpp:70] Failed to create QP: Cannot allocate memory [12]",
        "rdma-resources",
        "ulimit -l unlimited",
    ),
    "no memory for RDMA": (
        "E0115 11:21:21.4 3 rdma_context.cpp:160] Failed to register memory 0x7fa3ce00: Cannot allocate memory [12]",
        "rdma-resources",
        "rdma resource",
    ),
    "two ends that do not meet": (
        "E0421 09:35:01.1 7 rdma_endpoint.cpp:301] Failed to modify QP to RTR, check mtu, gid, peer lid, peer qp num: "
        "Connection timed out [110]",
        "rdma-connect",
        "MC_GID_INDEX",
    ),
    "P waits": (
        "Prefill bootstrap failed for request rank=0 req.rid='a' req.bootstrap_room=8 with exception "
        "KVTransferError(bootstrap_room=8): Request 8 timed out after 300.0s in KVPoll.Bootstrapping",
        "kv-bootstrap-timeout",
        "SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT",
    ),
    "D waits": (
        "Decode transfer failed for request rank=0 decode_req.req.rid='a' with exception "
        "KVTransferError(bootstrap_room=8): Request 8 timed out after 300.0s in KVPoll.WaitingForInput",
        "kv-waiting-timeout",
        "SGLANG_DISAGGREGATION_WAITING_TIMEOUT",
    ),
    "D is gone": (
        "[2026-02-26 16:00:13 TP10] Prefill transfer failed for request rank=10 req.rid='a' with exception "
        "KVTransferError(bootstrap_room=8): Decode instance could be dead, remote mooncake session 10.9.1.5:16581 is "
        "not alive",
        "kv-peer-lost",
        "ppdsim doctor --log OTHER.log",
    ),
    "P is gone": (
        "KVTransferError(bootstrap_room=12346): Failed to get kvcache from prefill instance, it might be dead",
        "kv-peer-lost",
        "the log of the other server",
    ),
    "a hand-off failed": (
        "Decode transfer failed for request rank=0 with exception KVTransferError(bootstrap_room=4): Aborted by",
        "kv-transfer",
        "P and D fail together",
    ),
    "killed by the kernel": ("Rank 0 scheduler died during initialization (exit code: -9).", "killed", "dmesg"),
    "killed, as a launcher says it": ("subprocess exited with code -9", "killed", "dmesg"),
}


@pytest.mark.parametrize("symptom", SYMPTOMS)
def test_a_symptom_is_recognised_and_mended_by_name(symptom: str) -> None:
    text, name, fix = SYMPTOMS[symptom]
    found = KNOWN_ISSUES.recognise(text)
    assert found is BY_NAME[name]
    assert fix in found.fix


def test_what_follows_a_failure_is_not_taken_for_its_cause() -> None:
    """Of a log that ends in failed hand-offs the first cause is told, and hand-offs where there is no other."""
    handoff = SYMPTOMS["D is gone"][0]
    for symptom in ("no queue pair", "out of memory", "port taken"):
        text, name, _ = SYMPTOMS[symptom]
        found = KNOWN_ISSUES.cause([text, "INFO: something else", handoff, handoff], None)
        assert found.issue is BY_NAME[name]
        assert found.line == text
    found = KNOWN_ISSUES.cause(["INFO: The server is fired up and ready to roll!", handoff], None)
    assert (found.issue, found.line) == (BY_NAME["kv-peer-lost"], handoff)


def test_every_known_issue_has_a_symptom() -> None:
    assert {name for _, name, _ in SYMPTOMS.values()} == set(BY_NAME)


@pytest.mark.parametrize(
    "text",
    [
        "INFO: Application startup complete.",
        # mooncake against an old libibverbs: no matter of PyTorch.
        "ImportError: engine.so: undefined symbol: ibv_reg_dmabuf_mr, version IBVERBS_1.12",
        "loaded /usr/lib/libcurl.so.4",
    ],
)
def test_what_is_no_known_issue_is_not_taken_for_one(text: str) -> None:
    found = KNOWN_ISSUES.recognise(text)
    assert found is None or found.name == "missing-library"


@pytest.mark.parametrize("name", BY_NAME)
def test_every_mend_can_be_pasted(name: str) -> None:
    fix = BY_NAME[name].fix
    assert re.match(r"(apt-get|dmesg|export|nvidia-smi|pip|ppdsim|sed|ss|ulimit|unset) ?", fix)
    subprocess.run(["bash", "-n", "-c", fix], check=True)


def test_the_mend_of_apt_sources_puts_the_distribution_s_own_mirror_there(tmp_path: Path) -> None:
    one, other = tmp_path / "sources.list", tmp_path / "sources.list.d" / "debian.sources"
    other.parent.mkdir()
    one.write_text("deb http://old.mirror/x/ubuntu/ jammy main\ndeb https://example.org/cuda ./\n")
    other.write_text("Types: deb\nURIs: https://old.mirror/debian\nSuites: trixie\n")
    fix = BY_NAME["apt-sources"].fix.replace("/etc/apt", str(tmp_path)).replace("&& apt-get update", "")
    subprocess.run(["bash", "-c", fix], check=True)
    assert one.read_text().splitlines() == [
        "deb http://archive.ubuntu.com/ubuntu jammy main",
        "deb https://example.org/cuda ./",
    ]
    assert "URIs: http://deb.debian.org/debian\n" in other.read_text()
