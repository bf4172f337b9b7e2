"""All policies on one scenario with common random numbers, and what each costs beyond a plan made in hindsight.

::

    J(run)  = sum over turns of TTFT + gamma x stall of the others       by what happened, not by an estimate
    regret  = J(policy) - J(oracle)                                      over the turns that ended in every run

Every run has the same conversations: arrivals, lengths and think times come from the seed alone. The oracle looks back
on whole runs: those of the policies asked for, and of the cost-aware rule at other prices of a stall, which stand for
the delay that a turn gives to turns behind it and that no router knows beforehand. The cheapest one's plan is replayed.
So no regret is negative; it is the best plan found, not the best there is, and regret is a lower bound. Plans that
choose each turn's arm by what it cost in other runs were tried and are worse: queues move with the other turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim.metrics import STABLE
from ppdsim.results import Results
from ppdsim.routing import ORACLE, POLICIES
from ppdsim.scenario import Scenario
from ppdsim.scenario.keys import Command
from ppdsim.setup import resolve
from ppdsim.simulation.run import conversations_of, simulate
from ppdsim.types import Arm
from ppdsim.units import MS_PER_S

CHEAPEST = "cost-aware"
PRICES = (0.25, 0.5, 0.7, 1.4, 2.0, 4.0)
"""Prices that the oracle tries, as multiples of the scenario's gamma [1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One policy of a comparison: its run, and per turn what it cost and what the oracle would have saved [s]."""

    policy: str
    results: Results
    j_s: float
    regret_s: float

    def row(self) -> dict[str, Any]:
        """Return the policy's line of the table, ready for JSON (seconds)."""
        summary = self.results.summary()
        return {
            "policy": self.policy,
            "label": summary["label"],
            "j_s": self.j_s,
            "regret_s": self.regret_s,
            "regret_at_decision_s": None if summary["regret"] is None else summary["regret"]["mean_s"],
            "ttft_mean_s": summary["ttft_s"]["mean"],
            "ttft_p99_s": summary["ttft_s"]["p99"],
            "itl_p99_s": summary["itl_s"]["p99"],
            "attainment": summary["goodput"]["attainment"],
            "appended": summary["arms"].get(Arm.APPEND_D.value, 0.0),
            **{f"busy_{place}": summary["busy"][place]["mean_share"] for place in ("prefill", "decode", "link")},
            **{f"hit_rate_{place}": summary["prefix_cache"][place]["hit_rate"] for place in ("prefill", "decode")},
        }


def expand(names: Sequence[str]) -> tuple[str, ...]:
    """Return policy names once each, ``all`` as every registered one; the oracle comes last.

    Raises
    ------
    UnknownNameError
        If there is no such policy.
    """
    found = dict.fromkeys(policy for name in names for policy in (POLICIES if name == "all" else (name,)))
    for name in found:
        _ = POLICIES[name]
    return tuple(sorted(found, key=lambda name: name == ORACLE))


class Interrupted(KeyboardInterrupt):
    """Ctrl-C between or within runs; `runs` has those of the policies that had ended by then."""

    def __init__(self, runs: Mapping[str, Results]) -> None:
        super().__init__()
        self.runs = runs


def compare(
    scenario: Scenario, policies: Sequence[str], *, seed: int, progress: Callable[[int, int], None] | None = None
) -> tuple[Compared, ...]:
    """Run policies on one scenario and return them with their regret, cheapest first.

    A policy has the scenario's ``routing.parameters`` where it is the scenario's own, else its defaults. The oracle is
    always found, and listed where it is asked for.

    Raises
    ------
    Interrupted
        On Ctrl-C once a run has begun.
    """
    asked = expand(policies)
    resolve(scenario, Command.POLICIES)
    names = [name for name in asked if name != ORACLE]
    gamma = scenario.routing.gamma
    queries = [(name, gamma) for name in names] + [(CHEAPEST, price * gamma) for price in PRICES]
    conversations = conversations_of(scenario, seed).kept()
    tried: list[Results] = []
    try:
        for name, price in queries:
            variant = _with_policy(scenario, name, price)
            tried.append(simulate(variant, seed=seed, decisions=price == gamma, conversations=conversations))
            if progress is not None:
                progress(len(tried), len(queries))
    except KeyboardInterrupt:
        raise Interrupted(dict(zip(names, tried, strict=False))) from None
    ended = np.logical_and.reduce([run.turns["status"] == "ok" for run in tried])
    costs = [mean_j_s(run.turns, ended, gamma) for run in tried]
    best = int(np.argmin(costs))
    runs = dict(zip(names, tried, strict=False))
    if ORACLE in asked:
        plan = _plan(tried[best].turns)
        variant = _with_policy(scenario, ORACLE, gamma)
        runs[ORACLE] = simulate(variant, seed=seed, decisions=True, plan=plan, conversations=conversations)
    rows = [
        Compared(policy=name, results=run, j_s=cost, regret_s=cost - costs[best])
        for name, run in runs.items()
        for cost in (mean_j_s(run.turns, ended, gamma),)
    ]
    return tuple(sorted(rows, key=lambda row: (row.j_s, row.policy != ORACLE)))


def notes(compared: Sequence[Compared]) -> list[str]:
    """Return what the runs say, each note once, with the policies whose runs say it unless all do."""
    return said_once(
        {each.policy: [n.removeprefix(f"policy '{each.policy}' ") for n in each.results.notes] for each in compared}
    )


def said_once(notes: Mapping[str, Iterable[str]]) -> list[str]:
    """Return each note once, with the names of those that say it unless all do.

    >>> said_once({"a": ["late"], "b": ["late", "long"]})
    ['late', 'b: long']
    """
    said: dict[str, list[str]] = {}
    for name, own in notes.items():
        for note in own:
            said.setdefault(note, []).append(name)
    return [note if len(by) == len(notes) else f"{', '.join(by)}: {note}" for note, by in said.items()]


def table(compared: Sequence[Compared]) -> str:
    """Return the comparison as text, in milliseconds."""
    heads = dict.fromkeys(("J", "regret", "regret at decision time", "TTFT", "TTFT p99", "ITL p99"), 10)
    heads["regret at decision time"] = 25
    shares = {
        "SLO met": "attainment",
        "appended": "appended",
        "P busy": "busy_prefill",
        "D busy": "busy_decode",
        "hit on P": "hit_rate_prefill",
        "hit on D": "hit_rate_decode",
    }
    widths = {**heads, **dict.fromkeys(shares, 10)}
    lines = [f"{'policy':14}{''.join(f'{head:>{width}}' for head, width in widths.items())}"]
    for row in (each.row() for each in compared):
        times = (
            row[key] for key in ("j_s", "regret_s", "regret_at_decision_s", "ttft_mean_s", "ttft_p99_s", "itl_p99_s")
        )
        rates = "".join(f"{'-' if row[key] is None else format(row[key], '.1%'):>10}" for key in shares.values())
        shown = "".join(
            f"{'-' if time is None else format(time * MS_PER_S, '.1f'):>{width}}"
            for time, width in zip(times, heads.values(), strict=True)
        )
        lines.append(f"{row['policy']:14}{shown}{rates}" + ("" if row["label"] == STABLE else f"   {row['label']}"))
    lines.append(
        "times in ms; J = TTFT + gamma x stall, the mean over turns; "
        "regret: J less that of the oracle, the best plan found in hindsight;"
    )
    lines.append(
        "regret at decision time: J of the arm taken less J of the cheaper arm, both estimated as the policy decided"
    )
    return "\n".join(lines)


def _with_policy(scenario: Scenario, policy: str, gamma: float) -> Scenario:
    own = scenario.routing
    parameters = own.parameters if policy == own.policy else {}
    routing = own.model_copy(update={"policy": policy, "parameters": parameters, "gamma": gamma})
    # What was set for this call has been checked for all policies together.
    return scenario.model_copy(update={"routing": routing}).asking(())


def mean_j_s(turns: Mapping[str, NDArray[Any]], ended: NDArray[np.bool_], gamma: float) -> float:
    """Return J a turn over the turns that ended in every run [s]."""
    cost = turns["ttft_s"] + gamma * turns["resident_stall_s"]
    return float(np.mean(cost[ended])) if ended.any() else 0.0


def _plan(turns: Mapping[str, NDArray[Any]]) -> frozenset[tuple[str, int]]:
    """Return the turns that a run appended."""
    appended = turns["arm"] == Arm.APPEND_D.value
    ids, numbers = turns["conversation_id"][appended].tolist(), turns["turn"][appended].tolist()
    return frozenset((str(conversation), number) for conversation, number in zip(ids, numbers, strict=True))
