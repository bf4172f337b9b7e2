"""SGLang: all that is its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ppdsim.engine_record import EngineRecord
from ppdsim.engines.base import AbstractEngine, MemoryRule
from ppdsim.engines.flags import FlagValue
from ppdsim.engines.sglang.flags import FLAGS, RADIX, as_run, knobs, ruled, told
from ppdsim.engines.sglang.releases import RELEASES, record

if TYPE_CHECKING:
    from ppdsim.des.scheduler import Scheduler
    from ppdsim.engines.client import AbstractClient, Endpoints, ShowLine
    from ppdsim.engines.doctor.examine import Doctor
    from ppdsim.engines.kept import Kept
    from ppdsim.engines.launch.launcher import Launcher
    from ppdsim.engines.link_alone import LinkAlone
    from ppdsim.engines.records.converted import Records
    from ppdsim.engines.sglang.launcher.settings import Settings
    from ppdsim.engines.stand_in import StandIn
    from ppdsim.turn import TurnModel


class SGLang(AbstractEngine):
    """SGLang with mooncake, up to 0.5.17."""

    name = "sglang"
    title = "SGLang"
    client_libraries = ("aiohttp",)
    pair_urls = ("router", "prefill", "decode")
    releases = RELEASES
    delta_flag = RADIX
    flags = FLAGS

    def record(self, version: str, server_flags: Iterable[str] = ()) -> EngineRecord:
        """Return what a profile of a run on this release records, with the flags that a manifest has of its servers."""
        return ruled(record(version), told(server_flags))

    @property
    def memory_rule(self) -> MemoryRule:
        """How it parts a GPU's memory."""
        from ppdsim.engines.sglang.memory_rule import MEMORY_RULE

        return MEMORY_RULE

    def knobs(self, flags: Mapping[str, FlagValue]) -> dict[str, Any]:
        """Return every knob of a simulated fleet with these flags."""
        return knobs(flags)

    def as_run(self, model: TurnModel, flags: Mapping[str, FlagValue]) -> TurnModel:
        """Return the costs and rules of a machine whose server has these flags."""
        return as_run(model, flags)

    def scheduler(self) -> Scheduler:
        """Return what the simulator runs of its scheduler."""
        from ppdsim.engines.sglang.scheduler import SCHEDULER

        return SCHEDULER

    def client(self, endpoints: Endpoints, *, show_line: ShowLine | None = None) -> AbstractClient:
        """Return what sends prompts to servers."""
        from ppdsim.engines.sglang.client import SglangHttp

        return SglangHttp(endpoints, show_line=show_line)

    @property
    def kept(self) -> Kept:
        """What a measurement depends on of arguments, environment and packages."""
        from ppdsim.engines.sglang.server_flags import KEPT

        return KEPT

    @property
    def launcher(self) -> Launcher[Settings]:
        """What starts its servers."""
        from ppdsim.engines.sglang.launcher.launcher import LAUNCHER

        return LAUNCHER

    @property
    def doctor(self) -> Doctor:
        """What it needs of a machine."""
        from ppdsim.engines.sglang.doctor.examine import DOCTOR

        return DOCTOR

    @property
    def link_alone(self) -> LinkAlone:
        """What moves its KV, for measuring the link without servers."""
        from ppdsim.engines.link_alone import LinkAlone
        from ppdsim.engines.sglang.server_flags import MOONCAKE
        from ppdsim.engines.sglang.transfer_engine import TransferPair

        return LinkAlone(library="mooncake", packages=MOONCAKE, pair=TransferPair)

    @property
    def records(self) -> Records:
        """Its recorded files."""
        from ppdsim.engines.sglang.records import RECORDS

        return RECORDS

    @property
    def stand_in(self) -> StandIn:
        """What answers as it does, without a GPU."""
        from ppdsim.engines.sglang.standin.stack import FakeStack, check
        from ppdsim.engines.stand_in import StandIn

        return StandIn(check=check, stack=FakeStack)
