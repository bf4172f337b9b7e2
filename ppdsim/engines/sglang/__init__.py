"""SGLang: all that is its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppdsim.engine_record import EngineRecord
from ppdsim.engines.base import AbstractEngine, MemoryRule
from ppdsim.engines.sglang.releases import RELEASES, record

if TYPE_CHECKING:
    from ppdsim.des.scheduler import Scheduler


class SGLang(AbstractEngine):
    """SGLang with mooncake, up to 0.5.17."""

    name = "sglang"
    releases = RELEASES

    def record(self, version: str) -> EngineRecord:
        """Return what a profile of a run on this release records."""
        return record(version)

    @property
    def memory_rule(self) -> MemoryRule:
        """How it parts a GPU's memory."""
        from ppdsim.engines.sglang.memory_rule import MEMORY_RULE

        return MEMORY_RULE

    def scheduler(self) -> Scheduler:
        """Return what the simulator runs of its scheduler."""
        from ppdsim.engines.sglang.scheduler import SCHEDULER

        return SCHEDULER
