"""Which arm and which link a record's requests took: what the record tells, and what only the user knows.

A unified server appends (append-d). A decode server's record tells that KV was handed off, not whether D kept a prefix
of it, nor over which link: those come from ``--arm`` and ``--transport``, or from a manifest with one transport.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.errors import MeasurementError
from ppdsim.types import Arm, Transport

UNIFIED = frozenset({Arm.APPEND_D})
HANDED_OFF = frozenset({Arm.P_FULL, Arm.P_DELTA})
UNTOLD = UNIFIED | HANDED_OFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the user says: the arm and the transport, if any, and the transports that the manifest lists."""

    arm: Arm | None = None
    transport: Transport | None = None
    transports: tuple[Transport, ...] = ()

    def resolve(self, possible: frozenset[Arm], *, where: str) -> tuple[Arm, Transport]:
        """Return the arm and transport of a record that tells that its arm is one of `possible`.

        Raises
        ------
        MeasurementError
            If the user says otherwise, or neither says it.
        """
        arm = self._arm(possible, where)
        if arm is Arm.APPEND_D:
            if self.transport not in (None, Transport.NONE):
                raise MeasurementError(f"{where}: an append on one server moves no KV, leave out --transport")
            return arm, Transport.NONE
        if self.transport is Transport.NONE:
            raise MeasurementError(f"{where}: arm {arm.value} hands KV off, expected --transport tcp, nvlink or rdma")
        if self.transport is not None:
            return arm, self.transport
        links = [transport for transport in self.transports if transport is not Transport.NONE]
        if len(links) != 1:
            raise MeasurementError(
                f"{where}: the record does not say what KV travelled over, and the manifest lists {len(links)} "
                "transports: give --transport tcp, nvlink or rdma"
            )
        return arm, links[0]

    def _arm(self, possible: frozenset[Arm], where: str) -> Arm:
        if self.arm is not None and self.arm not in possible:
            told = "a unified server" if possible == UNIFIED else "servers that hand KV off"
            raise MeasurementError(f"{where}: the record is of {told}, not of --arm {self.arm.value}")
        if self.arm is not None:
            return self.arm
        if len(possible) == 1:
            return next(iter(possible))
        names = ", ".join(sorted(arm.value for arm in possible))
        raise MeasurementError(f"{where}: the record does not say its arm: give --arm, one of {names}")
