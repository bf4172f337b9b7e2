"""What the stand-in's tests share: cores on a virtual clock, prompts, servers on free ports."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from curve_cases import DECODE, ENGINE, FRONTEND, HANDOFF, PREFILL, STALL
from engines.sglang.standin.inprocess import DirectMeeting
from engines.sglang.standin.virtual_clock import VirtualClock

from ppdsim.engines.sglang.standin.build import Mode
from ppdsim.engines.sglang.standin.core import AbstractCore, CoreSettings
from ppdsim.engines.sglang.standin.decode import DecodeCore
from ppdsim.engines.sglang.standin.flags import ServerOptions
from ppdsim.engines.sglang.standin.prefill import PrefillCore
from ppdsim.engines.sglang.standin.request import Rendezvous, Request
from ppdsim.engines.sglang.standin.unified import UnifiedCore
from ppdsim.engines.stand_in import DEFAULT_PROFILE
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport

PAGE = 64
MODEL = TurnModel(
    prefill=PREFILL,
    decode=DECODE,
    stall=STALL,
    frontend=FRONTEND,
    handoffs={
        (Arm.P_FULL, Transport.TCP): HANDOFF,
        (Arm.P_DELTA, Transport.TCP): HANDOFF,
        # The early share of a prefix is a mechanism of its own: none, half, all.
        (Arm.P_FULL, Transport.NVLINK): replace(HANDOFF, early_share=0.0, fresh_wire_s_per_token=0.0),
        (Arm.P_FULL, Transport.RDMA): replace(HANDOFF, early_share=0.5),
    },
    chunked_prefill_size=8192,
    page_size_tokens=PAGE,
    kv_bytes_per_token=131_072,
    engine=ENGINE,
)


def settings(**changes: Any) -> CoreSettings:
    """Return settings of a server with 160000 tokens of KV."""
    return CoreSettings(**{"kv_pool_tokens": 160_000, "page_tokens": PAGE, "chunk_tokens": 8192, **changes})


class Log:
    """What the client of one request saw: (time, tokens) of each delivery."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.seen: list[tuple[float, int]] = []

    def __call__(self, request: Request) -> None:
        self.seen.append((self._clock.now_s(), request.visible))

    @property
    def times_s(self) -> list[float]:
        return [time for time, _ in self.seen]


class Bench:
    """A unified server, or P and D, on a virtual clock."""

    def __init__(self, *, disaggregated: bool = False, model: TurnModel = MODEL, **changes: Any) -> None:
        self.clock = VirtualClock()
        self.model = model
        self.cores: list[AbstractCore]
        if disaggregated:
            self.prefill = PrefillCore(settings(**changes), model, self.clock)
            self.decode = DecodeCore(settings(**changes), model, self.clock, DirectMeeting(self.prefill))
            self.cores = [self.prefill, self.decode]
        else:
            self.unified = UnifiedCore(settings(**changes), model, self.clock)
            self.cores = [self.unified]
        self._count = 0
        self.answers: list[Log] = []  # what the prefill server answers, which the router drops
        self._rng = np.random.default_rng(7)

    def ids(self, tokens: int) -> list[int]:
        return [int(token) for token in self._rng.integers(1000, 30_000, tokens)]

    def send(
        self, prompt: Sequence[int], output_tokens: int, *, at_s: float | None = None, late_s: float = 0.0
    ) -> tuple[Request, Log]:
        """Send a prompt to every server; the prefill server gets it `late_s` later (negative: earlier)."""
        self._count += 1
        start_s = self.clock.now_s() if at_s is None else at_s
        log = Log(self.clock)
        answering = self.cores[-1]
        self.answers.append(Log(self.clock))
        for core in self.cores:
            request = Request(
                rid=f"{id(core)}-{self._count}",
                ids=prompt,
                output_tokens=output_tokens,
                deliver=log if core is answering else self.answers[-1],
                rendezvous=self._room(),
            )
            delay_s = max(late_s, 0.0) if core is not answering else max(-late_s, 0.0)
            self._submit(core, request, start_s + delay_s)
        return request, log

    def _room(self) -> Rendezvous | None:
        return Rendezvous(room=self._count) if len(self.cores) == 2 else None

    def _submit(self, core: AbstractCore, request: Request, time_s: float) -> None:
        self.clock.at(time_s, lambda time: core.submit(request, time))

    def run(self, until_s: float = float("inf")) -> None:
        self.clock.run(until_s)
        for core in self.cores:
            core.pool.check_integrity(core.holdings)

    def flush(self) -> None:
        assert all(core.flush() for core in self.cores)

    def ttft_s(self, cached_tokens: int, new_tokens: int) -> float:
        """Send a turn on a warm prefix to idle servers and return its TTFT."""
        self.flush()
        prefix = self.ids(cached_tokens)
        if prefix:
            self.send(prefix, 1)
            self.run()
        begin_s = self.clock.now_s() + 1.0
        request, log = self.send([*prefix, *self.ids(new_tokens)], 2, at_s=begin_s)
        self.run()
        assert request.cached_tokens == cached_tokens
        return log.times_s[0] - begin_s


@cache
def _taken() -> set[int]:
    return set()


def free_port() -> int:
    """Return a free port that was not returned before."""
    while True:
        with socket.socket() as place:
            place.bind(("127.0.0.1", 0))
            port = int(place.getsockname()[1])
        if port not in _taken():
            _taken().add(port)
            return port


def options(mode: Mode = Mode.NULL, **changes: Any) -> ServerOptions:
    """Return options of a server on free ports, ten times as fast as the profile."""
    return ServerOptions(
        **{
            "mode": mode,
            "host": "127.0.0.1",
            "port": free_port(),
            "bootstrap_port": free_port(),
            "profile": DEFAULT_PROFILE,
            "transport": Transport.TCP,
            "metrics": True,
            "time_scale": 0.1,
            **changes,
        }
    )
