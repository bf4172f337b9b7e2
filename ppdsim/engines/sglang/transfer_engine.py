"""The link alone: seconds to write bytes from one process to another with mooncake's transfer engine, as SGLang does.

Two worker processes on this host, each with an engine of its own: a target that registers memory and says where it is,
and a source that writes ``size_bytes`` in ``blocks`` pieces by one ``batch_transfer_sync_write``. Blocks land in
reverse order, so that none can be merged with its neighbour. The target clears its memory before a cell, and its
checksum is compared with the source's afterwards: bytes that did not arrive are an error, not a fast transfer.

Both are processes of their own because a call into the engine cannot be interrupted: whoever does not answer in time is
killed. Buffers are host memory, or GPU memory through torch. Source: SGLang 0.5.17 disaggregation/mooncake/conn.py,
kvcache-ai/Mooncake docs. Not modelled: a link between hosts.
"""

from __future__ import annotations

import json
import mmap
import os
import selectors
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

from ppdsim.engines.client import EVERY_S, ShowLine
from ppdsim.errors import EnvironmentProblem, InputError, unknown
from ppdsim.machine.process_tree import MARK

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
"""Bound on starting both workers [s]; torch and CUDA take most of it."""
CELL_TIMEOUT_S = 120.0
"""Bound on one cell, repeats and checksums included [s]."""
ENVIRONMENT: Mapping[str, Mapping[str, str]] = {
    "tcp": {"MC_FORCE_TCP": "1", "MC_TCP_ENABLE_CONNECTION_POOL": "1"},
    "nvlink": {"MC_INTRANODE_NVLINK": "true"},
    "rdma": {},
}
"""Environment that makes the engine take a transport, whatever protocol it is told (sglang-semantics: section 4)."""


def open_engine(transport: str) -> tuple[Any, str]:
    """Start a transfer engine in this process and return it with its session, ``host:port``.

    The environment of `ENVIRONMENT` must be set already: the engine reads it when it is imported.

    Raises
    ------
    EnvironmentProblem
        If mooncake cannot be imported or started; the message names the known issue and its fix.
    """
    try:
        from mooncake.engine import TransferEngine
    except ImportError as error:
        raise _problem("mooncake cannot be imported", str(error)) from None
    engine = TransferEngine()
    result = engine.initialize(HOST, "P2PHANDSHAKE", "tcp" if transport == "tcp" else "rdma", "")
    if result != 0:
        raise _problem("mooncake's transfer engine did not start", f"initialize returned {result}")
    return engine, f"{HOST}:{engine.get_rpc_port()}"


def register(engine: Any, address: int, size_bytes: int) -> None:
    """Register memory with an engine.

    Raises
    ------
    EnvironmentProblem
        If the engine refuses it.
    """
    result = engine.register_memory(address, size_bytes)
    if result != 0:
        raise _problem(f"mooncake did not register {size_bytes} bytes", f"register_memory returned {result}")


class TransferPair:
    """Two engines on this host; use as a context manager.

    Parameters
    ----------
    capacity_bytes : int
        The largest cell [B].
    transport : str
        ``tcp``, ``nvlink`` or ``rdma``.
    gpus : (int, int) or None
        CUDA devices of source and target, or None for host memory.
    show_line : callable or None
        Given a line now and then while a worker is waited for.
    """

    def __init__(
        self,
        capacity_bytes: int,
        transport: str = "tcp",
        gpus: tuple[int, int] | None = None,
        show_line: ShowLine | None = None,
    ) -> None:
        if transport not in ENVIRONMENT:
            raise unknown("transport", transport, ENVIRONMENT)
        self._capacity_bytes = capacity_bytes
        self._transport = transport
        self._gpus = gpus
        self._show_line = show_line
        self._workers: list[_Worker] = []

    def __enter__(self) -> TransferPair:
        """Start both workers.

        Raises
        ------
        EnvironmentProblem
            If one of them cannot start, or does not in time.
        """
        try:
            for index, role in enumerate(("target", "source")):
                device = "cpu" if self._gpus is None else f"cuda:{self._gpus[1 - index]}"
                self._workers.append(_Worker(role, self._transport, self._capacity_bytes, device, self._show_line))
            bound_s = time.monotonic() + START_TIMEOUT_S
            target = self._workers[0].answer(bound_s)
            self._workers[1].answer(bound_s)
            self._workers[1].ask({"target": target}, bound_s)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop both workers."""
        self._stop()

    def seconds(
        self, size_bytes: int, blocks: int, *, repeats: int = 5, timeout_s: float = CELL_TIMEOUT_S
    ) -> tuple[float, ...]:
        """Return the seconds of each of `repeats` transfers of `size_bytes` in `blocks` pieces, one more thrown away.

        Raises
        ------
        InputError
            If the blocks do not divide the size, or it is over the pair's capacity.
        EnvironmentProblem
            If a transfer fails, takes longer than allowed, or bytes did not arrive.
        """
        if blocks < 1 or size_bytes < 1 or size_bytes % blocks:
            raise InputError(f"{size_bytes} bytes in {blocks} blocks, expected blocks of equal size")
        if size_bytes > self._capacity_bytes:
            raise InputError(f"{size_bytes} bytes, expected at most {self._capacity_bytes}, the size of its buffers")
        bound_s = time.monotonic() + timeout_s
        target, source = self._workers
        target.ask({"clear": size_bytes}, bound_s)
        sent = source.ask({"size_bytes": size_bytes, "blocks": blocks, "repeats": repeats}, bound_s)
        arrived = target.ask({"check": size_bytes, "blocks": blocks}, bound_s)
        if sent["checksum"] != arrived["checksum"]:
            raise EnvironmentProblem(
                f"{size_bytes} bytes in {blocks} blocks over {self._transport}: the target's memory differs from the"
                " source's although the engine reported success"
            )
        return tuple(sent["seconds"])

    def _stop(self) -> None:
        for worker in reversed(self._workers):
            worker.stop()
        self._workers = []


class _Worker:
    """One side: a process that answers JSON lines with JSON lines."""

    def __init__(
        self, role: str, transport: str, capacity_bytes: int, device: str, show_line: ShowLine | None = None
    ) -> None:
        self._role = role
        self._show_line = show_line
        command = [sys.executable, "-m", __name__, transport, str(capacity_bytes), device]
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT[transport], MARK: "transfer"},
            start_new_session=True,
        )
        self._said = {"out": b"", "err": b""}

    def ask(self, question: Mapping[str, Any], bound_s: float) -> dict[str, Any]:
        """Send a line and return the answer."""
        if self._process.stdin is None:
            raise RuntimeError("the worker has no stdin")
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        return self.answer(bound_s)

    def answer(self, bound_s: float) -> dict[str, Any]:
        """Return the next line, or raise with what the worker said on stderr."""
        with selectors.DefaultSelector() as selector:
            for name in ("out", "err"):
                selector.register(getattr(self._process, f"std{name}"), selectors.EVENT_READ, name)
            begin_s = time.monotonic()
            next_line_s = begin_s + EVERY_S
            while b"\n" not in self._said["out"]:
                now_s = time.monotonic()
                if self._show_line is not None and now_s >= next_line_s:
                    next_line_s = now_s + EVERY_S
                    waited = f"{now_s - begin_s:.0f} s, at most {bound_s - now_s:.0f} s more"
                    self._show_line(f"waiting for the transfer's {self._role}: {waited}")
                ready = selector.select(max(0.0, min(bound_s, next_line_s) - now_s))
                if not ready and time.monotonic() >= bound_s:
                    raise EnvironmentProblem(f"the transfer's {self._role} did not answer in time; it was killed")
                for key, _ in ready:
                    found = os.read(key.fd, 65_536)
                    self._said[key.data] = (self._said[key.data] + found)[-1_000_000:]
                    if not found:
                        selector.unregister(key.fileobj)
                if not selector.get_map():
                    raise _problem(f"the transfer's {self._role} ended", self._error_text())
        line, _, self._said["out"] = self._said["out"].partition(b"\n")
        found_line: dict[str, Any] = json.loads(line)
        if "error" in found_line:
            raise _problem(f"the transfer's {self._role} failed", str(found_line["error"]))
        return found_line

    def stop(self) -> None:
        """Kill the process; it has nothing to save."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()

    def _error_text(self) -> str:
        return self._said["err"].decode(errors="replace")[-4000:]


def _problem(what: str, text: str) -> EnvironmentProblem:
    """Return the error for a failure, with its name and fix if it is a known one."""
    from ppdsim.engines.sglang.known_issues import KNOWN_ISSUES

    issue = KNOWN_ISSUES.recognise(text)
    lines = [line for line in text.splitlines() if line.strip()]
    if issue is not None:
        return EnvironmentProblem(f"{what}: {issue.reason}; fix: {issue.fix}")
    return EnvironmentProblem(f"{what}: {lines[-1].strip()[:300] if lines else 'it printed nothing'}")


class _Memory:
    """A worker's registered bytes, on the host or on a GPU."""

    def __init__(self, capacity_bytes: int, device: str) -> None:
        import numpy as np

        if device == "cpu":
            self._host = np.frombuffer(mmap.mmap(-1, capacity_bytes), dtype=np.uint8)
            self._gpu: Any = None
            self.address = int(self._host.ctypes.data)
        else:
            import torch  # type: ignore[import-not-found, unused-ignore]

            self._gpu = torch.zeros(capacity_bytes, dtype=torch.uint8, device=device)
            self.address = int(self._gpu.data_ptr())

    def write(self, content: Any) -> None:
        """Put bytes at the front."""
        if self._gpu is None:
            self._host[: len(content)] = content
        else:
            import torch  # type: ignore[import-not-found, unused-ignore]

            self._gpu[: len(content)].copy_(torch.from_numpy(content))
            torch.cuda.synchronize(self._gpu.device)

    def read(self, size_bytes: int) -> Any:
        """Return the bytes at the front."""
        return self._host[:size_bytes] if self._gpu is None else self._gpu[:size_bytes].cpu().numpy()


def _work(transport: str, capacity_bytes: int, device: str) -> None:
    """Answer questions until stdin ends; what is asked makes it the target or the source."""
    import numpy as np

    # The engine prints on stdout as well; answers go where nobody else writes.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(content: Mapping[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")

    try:
        memory = _Memory(capacity_bytes, device)
        engine, session = open_engine(transport)
        register(engine, memory.address, capacity_bytes)
        answer({"session": session, "address": memory.address})
        target: dict[str, Any] = {}
        for line in sys.stdin:
            question = json.loads(line)
            if "target" in question:
                target = question["target"]
                answer({})
            elif "clear" in question:
                memory.write(np.zeros(question["clear"], dtype=np.uint8))
                answer({})
            elif "check" in question:
                # The blocks landed in reverse order.
                blocks = memory.read(question["check"]).reshape(question["blocks"], -1)
                answer({"checksum": zlib.crc32(blocks[::-1].tobytes())})
            else:
                size, blocks, repeats = question["size_bytes"], question["blocks"], question["repeats"]
                content = np.random.default_rng(size + blocks).integers(0, 256, size, dtype=np.uint8)
                memory.write(content)
                step = size // blocks
                sources = [memory.address + number * step for number in range(blocks)]
                targets = [target["address"] + (blocks - 1 - number) * step for number in range(blocks)]
                seconds = []
                for _ in range(repeats + 1):
                    begin_s = time.perf_counter()
                    result = engine.batch_transfer_sync_write(target["session"], sources, targets, [step] * blocks)
                    seconds.append(time.perf_counter() - begin_s)
                    if result < 0:
                        raise ConnectionError(f"batch_transfer_sync_write returned {result}")
                answer({"seconds": seconds[1:], "checksum": zlib.crc32(content)})
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"})
    # The engine's threads would keep the process alive.
    os._exit(0)


if __name__ == "__main__":
    _work(sys.argv[1], int(sys.argv[2]), sys.argv[3])
