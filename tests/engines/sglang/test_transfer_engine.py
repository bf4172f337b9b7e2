"""The link alone, with mooncake's real transfer engine over TCP; and what is said where it cannot run."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ppdsim.engines.sglang.transfer_engine import TransferPair
from ppdsim.errors import EnvironmentProblem, InputError

MIB = 1 << 20


@pytest.fixture(scope="module")
def pair(require: Callable[..., str]):
    require("python:mooncake.engine")
    with TransferPair(32 * MIB) as opened:
        yield opened


@pytest.mark.parametrize(("size_bytes", "blocks"), [(64, 1), (MIB, 1), (MIB, 8), (32 * MIB, 1), (32 * MIB, 256)])
def test_bytes_arrive_and_every_repeat_has_its_time(pair: TransferPair, size_bytes: int, blocks: int) -> None:
    seconds = pair.seconds(size_bytes, blocks, repeats=3)
    assert len(seconds) == 3
    assert all(0.0 < one < 30.0 for one in seconds)


def test_more_bytes_take_longer(pair: TransferPair) -> None:
    small, large = (min(pair.seconds(size, 1, repeats=5)) for size in (64 * 1024, 32 * MIB))
    assert large > small


@pytest.mark.parametrize(
    ("size_bytes", "blocks", "words"),
    [
        (0, 1, "0 bytes"),
        (100, 3, "blocks of equal size"),
        (64, 0, "0 blocks"),
        (64 * MIB, 1, "expected at most 33554432"),
    ],
)
def test_cells_that_cannot_be(pair: TransferPair, size_bytes: int, blocks: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        pair.seconds(size_bytes, blocks)


def test_unknown_transport() -> None:
    with pytest.raises(InputError, match="pigeon"):
        TransferPair(64, transport="pigeon")


def planted_mooncake(folder: Path, text: str, patch: pytest.MonkeyPatch) -> None:
    """Put a package of mooncake's name first on the path, with an engine that is `text`."""
    (folder / "mooncake").mkdir()
    (folder / "mooncake" / "__init__.py").touch()
    (folder / "mooncake" / "engine.py").write_text(text)
    patch.setenv("PYTHONPATH", str(folder))


ENGINE = """
import ctypes
class TransferEngine:
    def initialize(self, *arguments): return {initialize}
    def get_rpc_port(self): return 1
    def register_memory(self, address, size): return {register}
    def batch_transfer_sync_write(self, session, sources, targets, sizes): {write}
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "raise ImportError('libibverbs.so.1: cannot open shared object file: No such file or directory')",
            r"links the RDMA libraries.*fix: apt-get install -y libibverbs1",
        ),
        ("raise ImportError('something else')", "mooncake cannot be imported: something else"),
        (ENGINE.format(initialize=-1, register=0, write="return 0"), "did not start: initialize returned -1"),
        (ENGINE.format(initialize=0, register=-7, write="return 0"), "did not register 4096 bytes"),
    ],
)
def test_what_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str) -> None:
    planted_mooncake(tmp_path, text, monkeypatch)
    with pytest.raises(EnvironmentProblem, match=words):
        TransferPair(4096).__enter__()


@pytest.mark.parametrize(
    ("write", "words"),
    [
        ("return -1", "batch_transfer_sync_write returned -1"),
        ("return 0", "the target's memory differs"),
        ("import os; os._exit(9)", "the transfer's source ended"),
        ("import time; time.sleep(60)", "the transfer's source did not answer in time"),
    ],
)
def test_a_transfer_that_does_not_happen_is_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str, words: str
) -> None:
    planted_mooncake(tmp_path, ENGINE.format(initialize=0, register=0, write=write), monkeypatch)
    begin_s = time.monotonic()
    with TransferPair(4096) as opened, pytest.raises(EnvironmentProblem, match=words):
        opened.seconds(4096, 2, timeout_s=2.0)
    assert time.monotonic() - begin_s < 20.0


def test_a_worker_that_is_waited_for_is_named_with_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted_mooncake(
        tmp_path, ENGINE.format(initialize=0, register=0, write="import time; time.sleep(60)"), monkeypatch
    )
    monkeypatch.setattr("ppdsim.engines.sglang.transfer_engine.EVERY_S", 0.2)
    told: list[str] = []
    with (
        TransferPair(4096, show_line=told.append) as opened,
        pytest.raises(EnvironmentProblem, match="did not answer in time"),
    ):
        opened.seconds(4096, 2, timeout_s=1.0)
    assert any(re.fullmatch(r"waiting for the transfer's source: \d s, at most \d s more", line) for line in told)


def test_nothing_is_left_over(require: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    require("python:mooncake.engine")
    with TransferPair(4096) as opened:
        numbers = [worker._process.pid for worker in opened._workers]
        os.kill(numbers[0], signal.SIGKILL)
        with pytest.raises(EnvironmentProblem, match="target ended"):
            opened.seconds(4096, 2, timeout_s=10.0)
    for number in numbers:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
