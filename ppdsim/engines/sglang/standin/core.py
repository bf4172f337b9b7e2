"""What every stand-in server has in common: a clock, a KV pool, requests that come, end, and are aborted.

A request reaches the scheduler `frontend.before_s` after it was received, and its client sees each token
`frontend.after_s` after the engine has it, so that the TTFT of a request that is alone is exactly that of
:class:`~ppdsim.turn.TurnModel`. Source of limits and messages: SGLang 0.5.17 scheduler.py, managers/utils.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ppdsim.engines.sglang.environ import INIT_NEW_TOKEN_RATIO
from ppdsim.engines.sglang.standin.clock import AbstractClock
from ppdsim.engines.sglang.standin.faults import Fault, Faults, FaultSpec
from ppdsim.engines.sglang.standin.pool import Holding, KvPool
from ppdsim.engines.sglang.standin.request import Ending, Finish, Request
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport

BAD_REQUEST = 400
SERVER_ERROR = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """Sizes of one server; the defaults are SGLang's."""

    kv_pool_tokens: int
    page_tokens: int
    chunk_tokens: int
    max_running_requests: int = 2048
    context_tokens: int = 131_072
    num_reserved_decode_tokens: int = 512
    new_token_ratio: float = INIT_NEW_TOKEN_RATIO
    transport: Transport = Transport.TCP
    decode_radix: bool = False
    mixed_chunk: bool = False
    bootstrap_timeout_s: float = 300.0

    @property
    def handoff_arm(self) -> Arm:
        """The arm of a hand-off to a decode server with these settings."""
        return Arm.P_DELTA if self.decode_radix else Arm.P_FULL


class AbstractCore(ABC):
    """One server without its HTTP. `requests` are those under way, by id."""

    def __init__(
        self, settings: CoreSettings, model: TurnModel, clock: AbstractClock, *, keeps_prefixes: bool = True
    ) -> None:
        self.settings = settings
        self.model = model
        self.clock = clock
        self.pool = KvPool(settings.kv_pool_tokens, settings.page_tokens, keeps_prefixes=keeps_prefixes)
        self.faults = Faults()
        self.requests: dict[str, Request] = {}
        self.clock_jumps: dict[str, float] = {}

    # What a client asks

    def submit(self, request: Request, received_s: float | None = None) -> None:
        """Take a request that was received at `received_s`, by default now [s]."""
        now_s = self.clock.now_s()
        request.received_s = now_s if received_s is None else received_s
        self.requests[request.rid] = request
        if self.faults.strikes(Fault.HANG):
            return
        if self.faults.strikes(Fault.ABORT):
            self.abort(request, "Aborted by the stand-in's fault", SERVER_ERROR)
            return
        jump = self.faults.strikes(Fault.CLOCK_JUMP)
        if jump is not None:
            self.clock_jumps[request.rid] = jump.amount
        self.clock.at(
            request.received_s + float(self.model.frontend.before_s(request.prompt_tokens)),
            lambda time: self._reach(request, time),
        )

    def abort(self, request: Request, message: str, status: int | None = None) -> None:
        """End a request at once; its client is told why."""
        if request.ending is not None:
            return
        time_s = self.clock.now_s()
        self._forget(request)
        self._release(request)
        self._end(request, Ending(finish=Finish.ABORT, message=message, status=status), time_s)
        self.clock.at(time_s, lambda _: self._show([(request, request.visible, request.ending)]))

    def abort_matching(self, prefix: str = "") -> None:
        """Abort every request whose id starts with `prefix`; all of them by default."""
        for request in list(self.requests.values()):
            if request.rid.startswith(prefix):
                self.abort(request, "Abort in waiting queue" if request.first_s is None else "Aborted")

    def flush(self) -> bool:
        """Empty the prefix cache, unless requests are under way; return whether it was done."""
        if self.requests:
            return False
        self.pool.flush()
        return True

    def set_fault(self, spec: FaultSpec | None) -> None:
        """Turn a fault on, or all of them off."""
        if spec is None:
            self.faults.clear()
            self.pool.capacity = self.settings.kv_pool_tokens // self.settings.page_tokens
        elif spec.fault is Fault.SMALL_POOL:
            self.pool.shrink(int(spec.amount))
        else:
            self.faults.set(spec)

    @property
    def holdings(self) -> list[Holding]:
        """KV that requests hold, for checks."""
        return [request.holding for request in self.requests.values() if request.holding is not None]

    @property
    def longest_prompt_tokens(self) -> int:
        """Prompts of this length and longer are refused [tokens]."""
        return self._longest_request_tokens - 5

    @property
    def _longest_request_tokens(self) -> int:
        return min(self.settings.context_tokens, self.pool.capacity * self.pool.page_tokens) - 1

    # What a server does with it

    @abstractmethod
    def _arrive(self, request: Request, time_s: float) -> None:
        """Take a request that has reached the scheduler."""

    @abstractmethod
    def _forget(self, request: Request) -> None:
        """Take a request out of every queue; its KV is released by the caller."""

    def _reach(self, request: Request, time_s: float) -> None:
        if request.ending is not None:
            return
        request.queued_s = time_s
        if request.prompt_tokens >= self.longest_prompt_tokens:
            self.abort(
                request,
                f"Input length ({request.prompt_tokens} tokens) exceeds the maximum allowed length "
                f"({self.longest_prompt_tokens} tokens). Use a shorter input or enable --allow-auto-truncate.",
                BAD_REQUEST,
            )
            return
        room = self._longest_request_tokens - request.prompt_tokens - 1
        request.output_tokens = max(1, min(request.output_tokens, room))
        self._arrive(request, time_s)

    def _release(self, request: Request) -> None:
        if request.holding is not None:
            self.pool.release(request.holding)
            request.holding = None

    def _first_token(self, request: Request, time_s: float) -> None:
        if request.prefilled_s is None:
            request.prefilled_s = time_s
        if request.first_s is None:
            request.first_s = time_s
            if self.faults.strikes(Fault.CACHED_TOKENS):
                # Counted twice, as by a decode server's prefix cache in releases before 0.5.13.
                request.cached_tokens = 2 * request.cached_tokens + self.pool.page_tokens
        request.generated += 1

    def _end(self, request: Request, ending: Ending, time_s: float) -> None:
        request.ending = ending
        request.finished_s = time_s
        self.requests.pop(request.rid, None)

    def _tell(self, requests: list[Request], time_s: float) -> None:
        """Let clients see the tokens that their requests have at `time_s`, when these have travelled."""
        told = [(request, request.generated, request.ending) for request in requests]
        self.clock.at(time_s + float(self.model.frontend.after_s()), lambda _: self._show(told))

    @staticmethod
    def _show(told: list[tuple[Request, int, Ending | None]]) -> None:
        for request, tokens, ending in told:
            if request.gone or request.visible_ending is not None:
                continue
            request.visible = max(request.visible, tokens)
            request.visible_ending = ending
            request.deliver(request)
