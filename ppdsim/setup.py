"""The one resolver: a scenario and a command become machines with curves, pools, knobs and links.

Every command that plays a scenario (simulate, its alternatives and policies, sweep, capacity, crossover) and the replay
of recorded loads builds what it plays from a :class:`Setup`, so a key that describes the machine cannot reach one of
them and miss another. What a command does not read is decided by `ppdsim.scenario.keys` alone.

Not modelled: nodes of one fleet that serve different models; such a fleet is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppdsim import compose, library, profile
from ppdsim.des.spec import HANDOFF_ROLES, ClusterSpec, NodeSpec
from ppdsim.engines.requested import Requested, requested
from ppdsim.errors import ScenarioError
from ppdsim.profile import Profile
from ppdsim.scenario import Scenario
from ppdsim.scenario.keys import Call, Command, refuse_unread, unread_keys
from ppdsim.scenario.schema import NO_LINK
from ppdsim.turn import TurnModel
from ppdsim.types import NodeRole, Tag, Transport
from ppdsim.units import BYTES_PER_GB


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """`count` equal nodes: their role, what was measured of them, and the KV that each holds [tokens].

    `pool_words` says where the pool comes from if the scenario does not give it.
    """

    role: NodeRole
    count: int
    profile: Profile
    kv_pool_tokens: int
    pool_words: str = ""
    nic: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A scenario as one command plays it.

    Attributes
    ----------
    machines : tuple of Machine
        The fleet's node groups, in the order of the file.
    requested : Requested
        The engine: its release, and its flags from both places that a scenario has for them.
    unread_keys : tuple of str
        Keys of the file that this command does not read.
    """

    scenario: Scenario
    machines: tuple[Machine, ...]
    requested: Requested
    unread_keys: tuple[str, ...] = ()

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """Return the profile of each node, in the fleet's order."""
        return tuple(machine.profile for machine in self.machines for _ in range(machine.count))

    @property
    def gpus(self) -> int:
        """Return how many GPUs the fleet has: a server of tensor parallelism n has n."""
        return sum(machine.count * machine.profile.tensor_parallel_size for machine in self.machines)

    @property
    def roles(self) -> tuple[NodeRole, ...]:
        """Return the role of each node, in the fleet's order."""
        return tuple(machine.role for machine in self.machines for _ in range(machine.count))

    def as_run(self, model: TurnModel) -> TurnModel:
        """Return a profile's curves (central values or draws) with the scenario's link, release and engine flags."""
        if self.scenario.link_bytes_per_s is not None:
            model = model.with_link(self.scenario.link_bytes_per_s)
        return self.requested.as_run(model)

    def cluster(self, *, seed: int) -> ClusterSpec:
        """Return the fleet as the simulator plays it; the seed is that of the load balancers."""
        models: dict[str, TurnModel] = {}
        nodes: list[NodeSpec] = []
        for machine in self.machines:
            key = machine.profile.origin
            if key not in models:
                models[key] = self.as_run(compose.central(machine.profile))
            node = NodeSpec(
                role=machine.role, model=models[key], kv_pool_tokens=machine.kv_pool_tokens, nic=machine.nic
            )
            nodes += [node] * machine.count
        routing = self.scenario.routing
        return ClusterSpec(
            nodes=tuple(nodes),
            transport=self.scenario.transport,
            stop_when_overloaded=self.scenario.stop_when_overloaded,
            prefill_policy=routing.prefill_policy,
            decode_policy=routing.decode_policy,
            sticky_sessions=routing.sticky_sessions,
            client_max_conversations=routing.client_max_conversations,
            frontend_max_conversations=routing.frontend_max_conversations,
            router_seed=seed,
            context_tokens=self.context_tokens,
            **self.knobs,
        )

    @property
    def context_tokens(self) -> int | None:
        """Return the longest prompt that the model takes, as far as a profile says it [tokens]."""
        known = [p.model.context_tokens for p in self.profiles if p.model.context_tokens is not None]
        return min(known, default=None)

    def pair(self) -> tuple[Machine, Machine]:
        """Return the P and the D that a crossover compares; a fleet of U nodes has one machine that is both.

        Raises
        ------
        ScenarioError
            If the fleet has P nodes, or decode nodes, of more than one kind.
        """
        on_d = [machine for machine in self.machines if machine.role is not NodeRole.P]
        on_p = [machine for machine in self.machines if machine.role is NodeRole.P] or on_d
        for name, machines in (("P", on_p), ("decode", on_d)):
            kinds = {(machine.profile.origin, machine.kv_pool_tokens) for machine in machines}
            if len(kinds) > 1:
                raise ScenarioError(
                    f"scenario '{self.scenario.name}': the fleet has {len(kinds)} kinds of {name} nodes (by profile "
                    "and KV pool); crossover compares one P with one D: leave one kind, such as "
                    "--set 'fleet=[{role: P, count: 1}, {role: pD, count: 1}]'"
                )
        return on_p[0], on_d[0]

    @property
    def knobs(self) -> dict[str, Any]:
        """Return what the scenario sets of the engine and of the router that waits for P, as `ClusterSpec` takes it."""
        return {
            "per_step": self.scenario.per_step,
            "router_awaits_prefill": self.scenario.routing.awaits_prefill,
            **self.requested.knobs,
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a reader must know of the machines: pools, derived profiles, links that are assumed."""
        notes = sorted(
            {
                f"KV pool of {machine.kv_pool_tokens:,} tokens a server ({machine.pool_words})"
                for machine in self.machines
                if machine.pool_words
            }
        )
        notes += [self.requested.note] if self.requested.note else []
        notes += sorted({f"profile {p.id} is {p.derivation}" for p in self.profiles if p.derivation is not None})
        if self.scenario.link_bytes_per_s is not None:
            speed = f"{self.scenario.link_bytes_per_s / BYTES_PER_GB:g} GB/s"
            over = self.scenario.transport
            rest = "" if over is Transport.NONE else f"; the rest of a hand-off is that over {over.value}"
            notes.append(f"assumed: KV moves at {speed}{rest}")
        else:
            notes.extend(_mixed_pairs(self.machines))
        return tuple(notes)


def resolve(
    scenario: Scenario,
    command: Command = Command.SIMULATE,
    *,
    logs_decisions: bool = False,
    load: Callable[[str], Profile] | None = None,
) -> Setup:
    """Return a scenario as a command plays it.

    Parameters
    ----------
    load : callable or None
        From a profile's name to the profile, in place of the library.

    Raises
    ------
    ScenarioError
        If something that was set for this call is not read, or the nodes of the fleet serve different models.
    InputError
        If a profile is missing or malformed, or lacks a hand-off that the fleet needs.
    """
    call = Call(command=command, scenario=scenario, logs_decisions=logs_decisions)
    refuse_unread([call], scenario.asked)
    hands_over = any(group.role is NodeRole.P for group in scenario.fleet)
    if hands_over and command is not Command.CROSSOVER and scenario.transport is Transport.NONE:
        if scenario.workload is None:
            scenario.build_workload()  # A scenario for crossovers alone lacks both; the workload is what to say first.
        raise ScenarioError(f"scenario '{scenario.name}': {NO_LINK}; give it with --set transport=nvlink")
    machines = _machines(scenario, load or _load)
    asked = requested(scenario, [machine.profile for machine in machines])
    return Setup(scenario=scenario, machines=machines, requested=asked, unread_keys=unread_keys(call))


def check_asked(scenarios: Iterable[Scenario], command: Command) -> None:
    """Refuse what is set for this call if none of the scenarios, such as the points of a grid, reads it.

    Raises
    ------
    ScenarioError
        Naming what set it and the commands that read it.
    """
    points = list(scenarios)
    asked = {text: path for point in points for path, text in point.asked}
    refuse_unread(
        [Call(command=command, scenario=point) for point in points], [(path, text) for text, path in asked.items()]
    )


def _load(name: str) -> Profile:
    return profile.load(library.find("profile", name))


def _machines(scenario: Scenario, load: Callable[[str], Profile]) -> tuple[Machine, ...]:
    loaded: dict[str, Profile] = {}
    machines: list[Machine] = []
    for group in scenario.fleet:
        name = group.profile or scenario.profile
        if name not in loaded:
            loaded[name] = load(name)
        found = loaded[name]
        machines.append(
            Machine(
                role=group.role,
                count=group.count,
                profile=found,
                kv_pool_tokens=group.kv_pool_tokens or found.kv_pool.tokens,
                pool_words="" if group.kv_pool_tokens else f"{found.kv_pool.tag.value}: {found.kv_pool.words}",
                nic=group.nic,
            )
        )
    _same_model(scenario, machines)
    return tuple(machines)


def _mixed_pairs(machines: Sequence[Machine]) -> list[str]:
    """Return a line for each kind of P and decode node with different profiles: no such hand-off was measured."""
    senders = [machine.profile for machine in machines if machine.role is NodeRole.P]
    receivers = [machine.profile for machine in machines if machine.role in HANDOFF_ROLES]
    pairs = {(p.id, d.id): (p, d) for p in senders for d in receivers if p.id != d.id}
    return [
        f"{Tag.MECHANISM.value}: KV from {p.id} ({_gpus(p)}) to {d.id} ({_gpus(d)}) moves at the slower of their wires"
        for p, d in pairs.values()
    ]


def _gpus(found: Profile) -> str:
    count = found.tensor_parallel_size
    return f"{count} GPU{'s' * (count > 1)} a server"


def _same_model(scenario: Scenario, machines: Sequence[Machine]) -> None:
    """Refuse a fleet whose nodes serve different models, or keep KV in different types: no KV can travel there."""
    first = machines[0]
    for number, machine in enumerate(machines):
        if _kv_of(machine.profile) != _kv_of(first.profile):
            raise ScenarioError(
                f"scenario '{scenario.name}': fleet.0 ({first.role.value}, profile {first.profile.id}) serves "
                f"{_served(first.profile)}, fleet.{number} ({machine.role.value}, profile {machine.profile.id}) serves "
                f"{_served(machine.profile)}; expected one model and one KV type in a fleet, because a conversation's "
                "KV moves between its nodes"
            )


def _kv_of(found: Profile) -> Mapping[str, object]:
    model = found.model
    return {
        "name": model.name,
        "layers": model.layers,
        "kv_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "kv_bytes_per_token": model.kv_bytes_per_token,
    }


def _served(found: Profile) -> str:
    return f"{found.model.name} with {found.model.kv_bytes_per_token:,} KV bytes a token"
