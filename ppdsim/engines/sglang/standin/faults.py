"""What can be made to go wrong, on purpose, one request at a time or all of them.

`abort`, `hang`, `cached-tokens`, `transfer` and `clock-jump` happen inside the engine; `http-500`, `disconnect` and
`kill` in what surrounds it; `small-pool` lasts as long as it is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from ppdsim.errors import InputError, unknown


class Fault(str, Enum):
    """Names of the faults."""

    ABORT = "abort"
    HANG = "hang"
    HTTP_500 = "http-500"
    DISCONNECT = "disconnect"
    CACHED_TOKENS = "cached-tokens"
    SMALL_POOL = "small-pool"
    KILL = "kill"
    TRANSFER = "transfer"
    CLOCK_JUMP = "clock-jump"


DEFAULT_AMOUNT = {Fault.SMALL_POOL: 1024.0, Fault.CLOCK_JUMP: -3600.0}
"""`small-pool`: tokens that are left of the pool; `clock-jump`: seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSpec:
    """One fault that is on.

    `times` is how many requests it strikes (None: all of them), `after_tokens` how far a request gets before a
    `disconnect` or a `kill`, `amount` as in `DEFAULT_AMOUNT`.
    """

    fault: Fault
    times: int | None = None
    after_tokens: int = 2
    amount: float = 0.0


def parse_fault(content: Mapping[str, Any]) -> FaultSpec:
    """Read a fault from ``{"name": "hang", "times": 1, "after_tokens": 2, "amount": 0}``; all but the name may lack.

    Raises
    ------
    InputError
        If the name or a key is unknown, or a value is no number.
    """
    keys = ("name", "times", "after_tokens", "amount")
    for key in content:
        if key not in keys:
            raise unknown("key of a fault", key, keys)
    names = [fault.value for fault in Fault]
    name = content.get("name")
    if name not in names:
        raise unknown("fault", str(name), names)
    fault = Fault(name)
    try:
        times = content.get("times")
        return FaultSpec(
            fault=fault,
            times=None if times is None else int(times),
            after_tokens=int(content.get("after_tokens", 2)),
            amount=float(content.get("amount", DEFAULT_AMOUNT.get(fault, 0.0))),
        )
    except (TypeError, ValueError):
        raise InputError(f"fault '{name}': times, after_tokens and amount are numbers, given {dict(content)}") from None


class Faults:
    """The faults that are on."""

    def __init__(self) -> None:
        self._on: dict[Fault, FaultSpec] = {}

    def set(self, spec: FaultSpec) -> None:
        """Turn a fault on."""
        self._on[spec.fault] = spec

    def clear(self) -> None:
        """Turn all of them off."""
        self._on.clear()

    def listed(self) -> list[str]:
        """Return the names of those that are on."""
        return [fault.value for fault in self._on]

    def strikes(self, fault: Fault) -> FaultSpec | None:
        """Return the fault if the request at hand is struck by it, and count it."""
        spec = self._on.get(fault)
        if spec is None:
            return None
        if spec.times is not None:
            if spec.times <= 1:
                del self._on[fault]
            else:
                self._on[fault] = replace(spec, times=spec.times - 1)
        return spec
