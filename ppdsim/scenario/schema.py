"""What a scenario file may say: the fleet, the link, the routing, the workload and the question's grid.

Units stand in the key names; keys that end in ``_ms`` are milliseconds (only here: everything inside is in seconds).
Engine flags have the engine's own names: those of its flags, and of environment variables in lower case without the
engine's prefix and with the unit. They stand at the top level (`ENGINE_FLAGS`) or in ``engine.flags``; which flags an
engine has, and of what types, its folder says. A value left out is the profile's or the engine's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from ppdsim.errors import ScenarioError, nearest
from ppdsim.limits import CELL_TURNS, DRAWS, RESIDENTS, SEEDS, SERVERS
from ppdsim.routing import BALANCERS, POLICIES
from ppdsim.scenario.lengths import NonNegative, NonNegativeInt, Positive, PositiveInt, listed, up_to
from ppdsim.scenario.overrides import engine_block
from ppdsim.scenario.strict import Strict
from ppdsim.scenario.workloads import WorkloadSpec
from ppdsim.types import Arm, NodeRole, Transport
from ppdsim.units import MS_PER_S
from ppdsim.workload import AbstractWorkload
from ppdsim.yaml_file import KeyPath

NO_LINK = "transport: given none, expected nvlink, tcp or rdma, because P nodes hand over their KV"
ENGINE_FLAGS = (
    "disaggregation_decode_enable_radix_cache",
    "disagg_prefill_early_send_cached_prefix",
    "page_size",
    "chunked_prefill_size",
    "max_prefill_tokens",
    "max_running_requests",
    "num_reserved_decode_tokens",
    "schedule_conservativeness",
    "enable_mixed_chunk",
    "disaggregation_decode_extra_slots",
    "disable_overlap_schedule",
    "disaggregation_bootstrap_timeout_s",
    "disaggregation_waiting_timeout_s",
)
"""Keys of the top level that are flags of the engine, and may stand in ``engine.flags`` as well."""
CacheRate = Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False)]


def _known(name: str, valid: Collection[str]) -> str:
    if name not in valid:
        raise ValueError(f"given '{name}', expected {', '.join(valid)}{nearest(name, valid)}")
    return name


class EngineBlock(Strict):
    """The engine: its name, the release whose rules hold, and its flags; what is left out is as measured."""

    name: str | None = None
    version: str | None = None
    flags: dict[str, Any] = Field(default_factory=dict)

    @property
    def title(self) -> str | None:
        """Name and version in one word, as far as they are given."""
        return "-".join(part for part in (self.name, self.version) if part) or None


def _or_text(schema: dict[str, Any]) -> None:
    """Let the JSON Schema of the engine take the short form, which a validator splits."""
    schema["anyOf"].insert(1, {"type": "string"})


class NodeGroup(Strict):
    """`count` equal nodes of one role."""

    role: NodeRole
    count: Annotated[int, up_to(SERVERS)]
    kv_pool_tokens: PositiveInt | None = None
    profile: str | None = None
    nic: str | None = None

    @model_validator(mode="after")
    def _only_p_sends(self) -> NodeGroup:
        if self.nic is not None and self.role is not NodeRole.P:
            raise ValueError(f"nic: a {self.role.value} node sends no KV; only P nodes name a NIC")
        return self


class Routing(Strict):
    """Who prefills a turn, which node of a role takes it, and how many conversations are under way at once."""

    policy: str
    parameters: dict[str, bool | int | float | str] = Field(default_factory=dict)
    gamma: NonNegative = 1.0
    prefill_policy: str | None = None
    decode_policy: str | None = None
    sticky_sessions: bool = True
    awaits_prefill: bool = True
    client_max_conversations: PositiveInt | None = None
    frontend_max_conversations: PositiveInt | None = None

    @field_validator("policy")
    @classmethod
    def _is_registered(cls, policy: str) -> str:
        return _known(policy, POLICIES)

    @field_validator("prefill_policy", "decode_policy")
    @classmethod
    def _balances(cls, policy: str | None) -> str | None:
        return None if policy is None else _known(policy, BALANCERS)


class Slo(Strict):
    """Limits a turn must keep to count as good; a limit left out is not applied."""

    ttft_ms: Positive | None = None
    tpot_ms: Positive | None = None
    itl_max_ms: Positive | None = None

    @property
    def ttft_s(self) -> float | None:
        """Longest TTFT that counts as good [s]."""
        return None if self.ttft_ms is None else self.ttft_ms / MS_PER_S

    @property
    def tpot_s(self) -> float | None:
        """Longest TPOT that counts as good [s]."""
        return None if self.tpot_ms is None else self.tpot_ms / MS_PER_S

    @property
    def itl_max_s(self) -> float | None:
        """Longest inter-token gap that counts as good [s]."""
        return None if self.itl_max_ms is None else self.itl_max_ms / MS_PER_S


class ArmChoice(Strict):
    """One arm over one transport; an append on D moves nothing, so its transport is ``none``."""

    arm: Arm
    transport: Transport

    @model_validator(mode="after")
    def _moves_what_it_must(self) -> ArmChoice:
        if (self.arm is Arm.APPEND_D) != (self.transport is Transport.NONE):
            raise ValueError(
                f"arm {self.arm.value} over transport {self.transport.value}; only append-d goes over none"
            )
        return self


class CrossoverGrid(Strict):
    """The grid of ``ppdsim crossover``: fixed prompt lengths S, cache rates r, and N residents on D."""

    total_tokens: Annotated[tuple[PositiveInt, ...], listed()] = (2_048, 8_192, 32_768)
    cache_rates: Annotated[tuple[CacheRate, ...], listed()] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    residents: Annotated[int, up_to(RESIDENTS, least=0)] = 4
    resident_context_tokens: PositiveInt = 2_048
    gamma: NonNegative = 1.0
    turn_rate_per_s: Positive = 1.0
    turns: Annotated[int, up_to(CELL_TURNS, least=2)] = 200
    output_tokens: PositiveInt = 140
    fixed_cached_tokens: Annotated[tuple[PositiveInt, ...], listed()] = (1_024, 4_096, 16_384)
    headline_cached_tokens: NonNegativeInt = 4_096
    headline_new_tokens: PositiveInt = 256
    previous_output_tokens: Annotated[tuple[NonNegativeInt, ...], listed()] = (0, 350)
    arms: Annotated[tuple[ArmChoice, ...], listed(least=2)]
    prefill_cache: Literal["warm", "cold"] = "warm"
    draws: Annotated[int, up_to(DRAWS)] = 20
    handoff_stall_ms: Annotated[tuple[NonNegative, ...], listed()] = (0.0, 2.0)


class Alternative(Strict):
    """One way to have it: what differs from the scenario, by the same dotted keys as ``--set``."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ +-]*$", max_length=40)]
    set: dict[str, Any] = Field(default_factory=dict)


class Scenario(Strict):
    """One complete, runnable description. Load it with :func:`ppdsim.scenario.load`."""

    schema_version: Literal["ppdsim/scenario/1"] = Field(alias="schema")
    question: str
    run_time: str
    profile: str
    engine: EngineBlock | None = Field(default=None, json_schema_extra=_or_text)
    fleet: Annotated[tuple[NodeGroup, ...], listed()]
    transport: Transport = Transport.NONE
    link_bytes_per_s: Annotated[float, Field(ge=1.0, le=1e15, allow_inf_nan=False)] | None = None
    disaggregation_decode_enable_radix_cache: bool = False
    disagg_prefill_early_send_cached_prefix: bool | None = None
    page_size: Annotated[int, Field(gt=0, le=2**20)] | None = None
    chunked_prefill_size: PositiveInt | None = None
    max_prefill_tokens: PositiveInt | None = None
    max_running_requests: PositiveInt | None = None
    num_reserved_decode_tokens: NonNegativeInt | None = None
    schedule_conservativeness: NonNegative | None = None
    enable_mixed_chunk: bool | None = None
    disaggregation_decode_extra_slots: NonNegativeInt | None = None
    disable_overlap_schedule: bool = False
    disaggregation_bootstrap_timeout_s: Positive | None = None
    disaggregation_waiting_timeout_s: Positive | None = None
    routing: Routing
    workload: WorkloadSpec | None = None
    slo: Slo = Slo()
    oversized_turns: Literal["refuse", "reject"] = "refuse"
    stop_when_overloaded: bool = True
    per_step: bool = False
    seed: NonNegativeInt = 0
    crossover: CrossoverGrid | None = None
    seeds: Annotated[int, up_to(SEEDS, least=2)] = 8
    alternatives: Annotated[tuple[Alternative, ...], listed(least=0)] = ()

    _directory: Path = PrivateAttr(default_factory=Path)
    _name: str = PrivateAttr(default="")
    _variants: tuple[Scenario, ...] = PrivateAttr(default=())
    _asked: tuple[tuple[KeyPath, str], ...] = PrivateAttr(default=())

    @property
    def asked(self) -> tuple[tuple[KeyPath, str], ...]:
        """What was set for this call: each path, and the text that set it."""
        return self._asked

    @property
    def name(self) -> str:
        """Name of the file without its ending."""
        return self._name

    @property
    def variants(self) -> tuple[Scenario, ...]:
        """The scenario of each of `alternatives`, in their order."""
        return self._variants

    @field_validator("alternatives")
    @classmethod
    def _differ(cls, alternatives: tuple[Alternative, ...]) -> tuple[Alternative, ...]:
        names = [alternative.name for alternative in alternatives]
        if len(names) == 1:
            raise ValueError("given 1 alternative, expected at least 2, because they are compared with each other")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"name '{twice}' is given twice, expected a name of its own for each")
        return alternatives

    @field_validator("engine", mode="before")
    @classmethod
    def _in_one_word(cls, engine: Any) -> Any:
        return engine_block(engine) if isinstance(engine, str) else engine

    @field_validator("fleet")
    @classmethod
    def _someone_decodes(cls, fleet: tuple[NodeGroup, ...]) -> tuple[NodeGroup, ...]:
        roles = {group.role for group in fleet}
        if NodeRole.P in roles and not roles & {NodeRole.D, NodeRole.PD}:
            raise ValueError("P nodes without a D or pD node to hand over to")
        if NodeRole.P not in roles and roles & {NodeRole.D, NodeRole.PD}:
            raise ValueError("D or pD nodes without a P node, which prefills every first turn")
        return fleet

    @model_validator(mode="after")
    def _handoffs_have_a_link(self) -> Scenario:
        if self.crossover is not None and "transport" not in self.model_fields_set:
            return self  # crossover.arms names the links; what simulates the fleet asks for one (`ppdsim.setup`)
        if self.transport is Transport.NONE and any(group.role is NodeRole.P for group in self.fleet):
            raise ValueError(NO_LINK)
        if self.transport is Transport.NONE and self.link_bytes_per_s is not None:
            raise ValueError("link_bytes_per_s: transport is none, expected nvlink, tcp or rdma with it")
        return self

    def located(self, path: Path) -> Scenario:
        """Return a copy that knows the file it came from, so that relative trace files are found."""
        copy = self.model_copy()
        copy._directory, copy._name = path.parent, path.stem
        return copy

    def asking(self, asked: Iterable[tuple[KeyPath, str]]) -> Scenario:
        """Return a copy that knows what was set for this call."""
        copy = self.model_copy()
        copy._asked = tuple(asked)
        return copy

    def compared(self, variants: tuple[Scenario, ...]) -> Scenario:
        """Return a copy that knows the scenarios of its alternatives."""
        copy = self.model_copy()
        copy._variants = variants
        return copy

    def build_workload(self) -> AbstractWorkload:
        """Return the source of conversations that the ``workload`` block describes.

        Raises
        ------
        ScenarioError
            If the scenario has no such block.
        """
        if self.workload is None:
            raise ScenarioError(f"scenario '{self._name}' has no workload; add a workload block or give --trace FILE")
        return self.workload.build(self._directory)
