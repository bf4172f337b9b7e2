"""Which keys of a scenario a command reads: the one table, and the reason for every key that it does not.

A scenario file serves several commands, so that a key in it may have no reader here: it is named, once, in print and in
the result (`unread_keys`). A key that somebody sets for this call (``--set``, ``--grid``, an option) expects an effect:
if the command does not read it, the call is refused with the reason and with the commands that do read it.

Some keys depend on others: nothing reads ``transport`` in a fleet without a P node. A rule therefore sees the whole
scenario. Keys that no rule names are read by every command.

Not modelled: a key that is read and makes no difference for these very numbers, such as a longer timeout that no turn
reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from ppdsim.errors import ScenarioError
from ppdsim.routing import POLICY_READS
from ppdsim.types import NodeRole
from ppdsim.yaml_file import KeyPath

if TYPE_CHECKING:
    from ppdsim.scenario.schema import Scenario


FLAGS = "engine.flags"
"""Block of the flags that may stand at the top level as well."""


class Command(Enum):
    """What reads a scenario, as it is called in messages."""

    CROSSOVER = "crossover"
    SIMULATE = "simulate"
    ALTERNATIVES = "simulate with alternatives"
    POLICIES = "simulate with several --policy"
    SWEEP = "sweep"
    CAPACITY = "capacity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A command on a scenario; `logs_decisions` where each routing decision is priced (``--decisions``)."""

    command: Command
    scenario: Scenario
    logs_decisions: bool = False

    def has(self, *roles: NodeRole) -> bool:
        """Return whether a node of these roles runs: a crossover always plays a U, a P and a D."""
        if self.command is Command.CROSSOVER:
            return True
        return any(group.role in roles for each in self.played for group in each.fleet)

    @property
    def played(self) -> tuple[Scenario, ...]:
        """Return the scenarios that run: the alternatives where the command plays them."""
        plays = self.command in (Command.ALTERNATIVES, Command.CAPACITY)
        return self.scenario.variants if plays and self.scenario.variants else (self.scenario,)

    def asks_policy(self, what: str) -> bool:
        """Return whether a policy of the call reads `what` of its context."""
        return any(what in POLICY_READS.get(each.routing.policy, ()) for each in self.played)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Keys that are read only in some calls; `keys` are dotted, with ``N`` for any number of a list.

    `describes` marks keys that say what the scenario is for: never named as unread.
    """

    keys: tuple[str, ...]
    read: Callable[[Call], bool]
    why: str = ""
    describes: bool = False

    def covers(self, key: str) -> bool:
        """Return whether the rule is about a key, or about a block that holds it; a flag is one key in both places."""
        key = key.removeprefix(f"{FLAGS}.")
        return any(key == own or key.startswith(f"{own}.") for own in self.keys)


def _not_crossover(call: Call) -> bool:
    return call.command is not Command.CROSSOVER


def _plays_fleet(call: Call) -> bool:
    """Return whether the fleet is played as it is: by a crossover only to see what a workload's turns find there."""
    return _not_crossover(call) or call.scenario.workload is not None


def _drawn_traffic(call: Call) -> bool:
    return call.command is Command.CROSSOVER and call.scenario.workload is None


RULES: tuple[Rule, ...] = (
    Rule(keys=("run_time",), read=lambda _: False, why="only 'ppdsim scenarios' prints it", describes=True),
    Rule(
        keys=("question",),
        read=lambda call: call.command is not Command.CAPACITY,
        why="it is a text for people",
        describes=True,
    ),
    Rule(keys=("crossover",), read=lambda call: call.command is Command.CROSSOVER),
    Rule(
        keys=("crossover.turn_rate_per_s", "crossover.output_tokens"),
        read=_drawn_traffic,
        why="arrivals and answers come from the workload",
    ),
    Rule(
        keys=("alternatives",),
        read=lambda call: call.command not in (Command.CROSSOVER, Command.SWEEP) or not call.scenario.alternatives,
        why="it looks at the scenario without them",
    ),
    Rule(
        keys=("seeds",),
        read=lambda call: call.command is Command.ALTERNATIVES,
        why="sweep and capacity have an option --seeds",
    ),
    Rule(
        keys=("profile",),
        read=lambda call: any(group.profile is None for each in call.played for group in each.fleet),
        why="every node group of the fleet names its own",
    ),
    Rule(
        keys=("transport",),
        read=lambda call: _plays_fleet(call) and call.has(NodeRole.P),
        why="crossover.arms names the links (unless a workload is played), and a fleet without P hands nothing over",
    ),
    Rule(
        keys=("disaggregation_decode_enable_radix_cache",),
        read=lambda call: _plays_fleet(call) and call.has(NodeRole.P),
        why="crossover.arms says it (unless a workload is played), and a fleet without P nodes hands nothing over",
    ),
    Rule(
        keys=("link_bytes_per_s", "disagg_prefill_early_send_cached_prefix", "routing.awaits_prefill"),
        read=lambda call: call.has(NodeRole.P),
        why="no P node hands its KV over",
    ),
    Rule(
        keys=(
            "num_reserved_decode_tokens",
            "disaggregation_decode_extra_slots",
            "disaggregation_bootstrap_timeout_s",
            "disaggregation_waiting_timeout_s",
        ),
        read=lambda call: call.has(NodeRole.D, NodeRole.PD),
        why="no D or pD node takes a hand-off",
    ),
    Rule(
        keys=("schedule_conservativeness",),
        read=lambda call: call.has(NodeRole.U),
        why="only U nodes admit by it",
    ),
    Rule(
        keys=("enable_mixed_chunk",),
        read=lambda call: call.has(NodeRole.U, NodeRole.PD),
        why="only U and pD nodes prefill beside running streams",
    ),
    Rule(
        keys=("fleet.N.count",),
        read=lambda call: _plays_fleet(call) or all(group.count == 1 for group in call.scenario.fleet),
        why="it compares one P with one D, and there is no workload to play",
    ),
    Rule(
        keys=("fleet.N.nic",),
        read=_plays_fleet,
        why="it compares one P with one D, and there is no workload to play",
    ),
    Rule(
        keys=("fleet.N.nic",),
        read=lambda call: any(
            sum(group.count for group in each.fleet if group.role is NodeRole.P) > 1 for each in call.played
        ),
        why="one P node shares its NIC with nobody",
    ),
    Rule(
        keys=("routing.prefill_policy",),
        read=lambda call: _plays_fleet(call) and _choice(call, NodeRole.P),
        why="there is one P node to choose from",
    ),
    Rule(
        keys=("routing.decode_policy", "routing.sticky_sessions"),
        read=lambda call: _plays_fleet(call) and _choice(call, NodeRole.D, NodeRole.PD, NodeRole.U),
        why="there is one decode node to choose from",
    ),
    Rule(
        keys=("routing.client_max_conversations", "routing.frontend_max_conversations"),
        read=_plays_fleet,
        why="it plays single turns, and there is no workload to play",
    ),
    Rule(
        keys=("oversized_turns", "stop_when_overloaded"),
        read=_plays_fleet,
        why="it checks its own grid, and marks what is overloaded",
    ),
    Rule(
        keys=("routing.policy",),
        read=lambda call: call.command is not Command.POLICIES or bool(call.scenario.routing.parameters),
        why="--policy lists the policies",
        describes=True,
    ),
    Rule(
        keys=("routing.gamma",),
        read=lambda call: (
            call.command in (Command.SWEEP, Command.POLICIES)
            or (_plays_fleet(call) and (call.logs_decisions or call.asks_policy("gamma")))
        ),
        why="no policy of the call weighs stalls (crossover has crossover.gamma; --decisions prices each decision)",
    ),
    Rule(
        keys=("slo",),
        read=lambda call: _not_crossover(call) or call.asks_policy("itl_budget_s"),
        why="it finds the cheaper arm, whatever the limits",
    ),
    Rule(
        keys=("slo.ttft_ms", "slo.tpot_ms"),
        read=_not_crossover,
        why="it finds the cheaper arm, whatever the limits",
    ),
)
"""A key is read if every rule that covers it says so."""


def _choice(call: Call, *roles: NodeRole) -> bool:
    return any(sum(group.count for group in each.fleet if group.role in roles) > 1 for each in call.played)


def unread_reason(call: Call, key: str) -> str | None:
    """Return why the call does not read a dotted key, with the commands that do; None if it reads it."""
    rule = next((rule for rule in RULES if rule.covers(key) and not rule.read(call)), None)
    if rule is None:
        return None
    readers = [
        command.value
        for command in _possible(call.scenario)
        if all(
            other.read(Call(command=command, scenario=call.scenario, logs_decisions=call.logs_decisions))
            for other in RULES
            if other.covers(key)
        )
    ]
    listed = f"; {_listed(readers)} {'does' if len(readers) == 1 else 'do'}" if readers else ""
    why = f": {rule.why}" if rule.why else ""
    return f"{call.command.value} does not read {key}{why}{listed}"


def _possible(scenario: Scenario) -> list[Command]:
    """Return the commands that can play a scenario."""
    missing = {Command.CROSSOVER: scenario.crossover is None, Command.ALTERNATIVES: not scenario.alternatives}
    return [command for command in Command if not missing.get(command)]


def unread_keys(call: Call) -> tuple[str, ...]:
    """Return the keys that the file gives, other than as their defaults, and that the call does not read."""
    found: list[str] = []
    silent = [rule for rule in RULES if not rule.read(call)]
    paths = list(given(call.scenario))
    for path in paths:
        pattern = _pattern(path)
        rules = [rule for rule in silent if rule.covers(pattern)]
        if rules and not any(rule.describes for rule in rules):
            found.append(dotted(path))
    # A block of which nothing is read is named by its own name.
    blocks = {key.split(".")[0] for key in found}
    read = {dotted(path) for path in paths} - set(found)
    whole = [block for block in blocks if not any(key.split(".")[0] == block for key in read)]
    return tuple(dict.fromkeys(key.split(".")[0] if key.split(".")[0] in whole else key for key in found))


def refuse_unread(calls: Iterable[Call], asked: Iterable[tuple[KeyPath, str]]) -> None:
    """Refuse what is set for this call and read by none of `calls` (the points of a grid; else one).

    Raises
    ------
    ScenarioError
        Naming the text that set it, the reason, and the commands that read the key.
    """
    calls = list(calls)
    for path, text in asked:
        leaves = _asked_leaves(calls[0].scenario, path)
        reasons = [[unread_reason(call, _pattern(leaf)) for call in calls] for leaf in leaves]
        if all(all(reason is not None for reason in each) for each in reasons):
            raise ScenarioError(f"{text}: {reasons[0][0]}")
        for call in calls:
            _refuse_overruled(call, path, text)


def _refuse_overruled(call: Call, path: KeyPath, text: str) -> None:
    """Refuse a key that every alternative of the call sets again."""
    if len(call.played) == 1 and call.played[0] is call.scenario:
        return
    key = dotted(path)
    setters = [
        next((own for own in each.set if key == own or key.startswith(f"{own}.")), None)
        for each in call.scenario.alternatives
    ]
    if all(setters):
        raise ScenarioError(
            f"{text}: every alternative of scenario '{call.scenario.name}' sets {setters[0]} itself; set it there, or "
            "run the scenario without them: --set alternatives=[]"
        )


def dotted(path: KeyPath) -> str:
    """Return a path as ``--set`` takes it.

    >>> dotted(("fleet", 0, "count"))
    'fleet.0.count'
    """
    return ".".join(str(part) for part in path)


def _pattern(path: KeyPath) -> str:
    return ".".join("N" if isinstance(part, int) else part for part in path)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def given(scenario: Scenario) -> Iterator[KeyPath]:
    """Yield the path of each key that a scenario gives other than as its default."""
    for path, value, default in _leaves(scenario, ()):
        if value != default:
            yield path


def _leaves(node: BaseModel, path: KeyPath) -> Iterator[tuple[KeyPath, Any, Any]]:
    """Yield each key that was given: its path, its value and its default."""
    for name, info in type(node).model_fields.items():
        if name not in node.model_fields_set:
            continue
        value, here = getattr(node, name), (*path, info.alias or name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, here)
        elif dotted(here) == FLAGS:
            for flag, setting in value.items():
                yield (*here, flag), setting, None
        elif name == "fleet":
            for number, group in enumerate(value):
                yield from _leaves(group, (*here, number))
        else:
            yield here, value, info.default


def _asked_leaves(scenario: Scenario, path: KeyPath) -> list[KeyPath]:
    inside = [leaf for leaf, _, _ in _leaves(scenario, ()) if leaf[: len(path)] == path]
    return inside or [path]
