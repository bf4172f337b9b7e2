"""What a decode server and a prefill server say to each other, and what carries the KV between them.

D pre-allocates first and announces its pages (`Allocated`); P prefills, sends, and answers with `Arrived`, or with the
reason why the KV will not come. KV takes its time from the profile here (`ProfileLink`), one FIFO a destination::

    link_free = max(link_free, t) + wire_s(tokens, held)

or really travels (`mooncake_kv`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ppdsim.engines.sglang.standin.clock import AbstractClock
from ppdsim.engines.sglang.standin.request import Rendezvous, Request
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocated:
    """D has the pages of a prompt, `held_tokens` of which it has already.

    `destination` names D; `sink` says where its pages are if bytes are really sent. Times are on the engines' clock.
    """

    room: int
    destination: str
    arm: Arm
    transport: Transport
    held_tokens: int
    allocated_s: float
    sink: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """All KV of a prompt is on D since `kv_done_s`; P had `cached_tokens` of it in its prefix cache."""

    kv_done_s: float
    cached_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The KV will not come."""

    reason: str


Reply = Callable[[Arrived | Failed], None]
Done = Callable[[float, "str | None"], None]
"""Called with the time of arrival [s] and what went wrong, if anything did."""


class AbstractMeeting(ABC):
    """How a decode server reaches the prefill server of a request."""

    @abstractmethod
    def announce(self, rendezvous: Rendezvous, allocated: Allocated, reply: Reply) -> None:
        """Tell P that D has its pages; `reply` is called once, when the KV has arrived or will not."""

    @abstractmethod
    def cancel(self, rendezvous: Rendezvous) -> None:
        """Tell P that D no longer wants the KV; no reply follows."""


class AbstractLink(ABC):
    """What carries KV away from a prefill server."""

    @abstractmethod
    def send(
        self,
        request: Request,
        allocated: Allocated,
        time_s: float,
        tokens: float,
        done: Done | None = None,
    ) -> None:
        """Send the KV of `tokens` more tokens, ready at `time_s`; the last of a request's sends has a `done`."""

    def sends(self, time_s: float) -> bool:
        """Return whether a send slows the host down at `time_s` by the profile; one that really takes place does."""
        return False


class AbstractSink(ABC):
    """Where KV lands on a decode server."""

    @abstractmethod
    def allocate(self, room: int, pages: int) -> Mapping[str, Any]:
        """Make room for pages and return what P needs to know of where they are."""

    @abstractmethod
    def problem(self, room: int) -> str | None:
        """Return what is wrong with the bytes that have arrived, or None."""

    @abstractmethod
    def free(self, room: int) -> None:
        """Let go of a room's pages, if it has any."""


class NoSink(AbstractSink):
    """No bytes travel."""

    def allocate(self, room: int, pages: int) -> Mapping[str, Any]:
        """Return nothing."""
        return {}

    def problem(self, room: int) -> str | None:
        """Return None."""
        return None

    def free(self, room: int) -> None:
        """Do nothing."""


class ProfileLink(AbstractLink):
    """KV that takes the time of the hand-off curve of `model`, which may change while nothing travels."""

    def __init__(self, model: TurnModel, clock: AbstractClock) -> None:
        self.model = model
        self._clock = clock
        self._free_s: dict[str, float] = {}

    def send(
        self,
        request: Request,
        allocated: Allocated,
        time_s: float,
        tokens: float,
        done: Done | None = None,
    ) -> None:
        """Occupy the link to the destination."""
        curve = self.model.handoff(allocated.arm, allocated.transport)
        held = allocated.held_tokens if allocated.arm is Arm.P_DELTA else 0
        begin_s = max(time_s, self._free_s.get(allocated.destination, 0.0))
        end_s = begin_s + float(curve.wire_s(tokens, held))
        self._free_s[allocated.destination] = end_s
        if done is not None:
            self._clock.at(end_s, lambda time: done(time, None))

    def sends(self, time_s: float) -> bool:
        """Return whether KV is on its way to any destination."""
        return any(free_s > time_s for free_s in self._free_s.values())
