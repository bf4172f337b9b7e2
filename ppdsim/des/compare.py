"""All policies on one scenario with common random numbers, and what each costs beyond a plan made in hindsight.

::

    J(run)  = sum over turns of TTFT + gamma x stall of the others       by what happened, not by an estimate
    regret  = J(policy) - J(oracle)                                      over the turns that ended in every run

Every run has the same conversations: arrivals, lengths and think times come from the seed alone. The oracle looks back:
a turn goes where it cost less on average in the runs so far; that plan is run, its costs join the others, and again. The
cheapest of all runs, plans and policies, is the oracle, so no regret is negative. It is the best plan found, not the best
there is: regret is a lower bound of what hindsight could save.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim.des.run import simulate
from ppdsim.metrics import STABLE
from ppdsim.results import Results
from ppdsim.routing import ORACLE, POLICIES
from ppdsim.scenario import Routing, Scenario
from ppdsim.types import Arm
from ppdsim.units import MS_PER_S

ROUNDS = 3
"""Plans that the oracle tries [runs]; on the shipped scenarios later ones gained nothing."""


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
            "regret_at_the_moment_s": None if summary["regret"] is None else summary["regret"]["mean_s"],
            "ttft_mean_s": summary["ttft_s"]["mean"],
            "ttft_p99_s": summary["ttft_s"]["p99"],
            "itl_p99_s": summary["itl_s"]["p99"],
            "attainment": summary["goodput"]["attainment"],
            "appended": summary["arms"].get(Arm.APPEND_D.value, 0.0),
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


def compare(
    scenario: Scenario, policies: Sequence[str], *, seed: int, progress: Callable[[int, int], None] | None = None
) -> tuple[Compared, ...]:
    """Run policies on one scenario and return them with their regret, cheapest first.

    A policy has the scenario's ``routing.parameters`` where it is the scenario's own, else its defaults. The oracle is
    always found, and listed where it is asked for.
    """
    names = [name for name in expand(policies) if name != ORACLE]
    runs: dict[str, Results] = {}
    for done, name in enumerate(names):
        runs[name] = simulate(_with(scenario, name), seed=seed, decisions=True)
        if progress is not None:
            progress(done + 1, len(names) + ROUNDS)
    gamma = scenario.routing.gamma
    tried = list(runs.values())
    for round_ in range(ROUNDS):
        tried.append(simulate(_with(scenario, ORACLE), seed=seed, decisions=True, plan=_plan(tried, gamma)))
        if progress is not None:
            progress(len(names) + round_ + 1, len(names) + ROUNDS)
    ended = np.logical_and.reduce([run.turns["status"] == "ok" for run in tried])
    costs = [_mean_j_s(run.turns, ended, gamma) for run in tried]
    best = int(np.argmin(costs))
    if ORACLE in expand(policies):
        runs[ORACLE] = tried[best]
    rows = [
        Compared(policy=name, results=run, j_s=cost, regret_s=cost - costs[best])
        for name, run in runs.items()
        for cost in (_mean_j_s(run.turns, ended, gamma),)
    ]
    return tuple(sorted(rows, key=lambda row: (row.j_s, row.policy != ORACLE)))


def table(compared: Sequence[Compared]) -> str:
    """Return the comparison as text, in milliseconds."""
    lines = [
        f"{'policy':14}{'J':>9}{'regret':>9}{'then':>9}{'TTFT':>9}{'p99':>9}{'ITL p99':>9}{'SLO':>8}{'appended':>10}"
        "   ms a turn; regret: beyond the oracle's J; then: beyond the cheaper arm, by the estimates at each choice"
    ]
    for row in (each.row() for each in compared):
        times = (
            row[key] for key in ("j_s", "regret_s", "regret_at_the_moment_s", "ttft_mean_s", "ttft_p99_s", "itl_p99_s")
        )
        shares = "".join(
            f"{'-' if share is None else format(share, '.1%'):>{width}}"
            for share, width in ((row["attainment"], 8), (row["appended"], 10))
        )
        shown = "".join(f"{'-' if time is None else format(time * MS_PER_S, '.1f'):>9}" for time in times)
        lines.append(f"{row['policy']:14}{shown}{shares}" + ("" if row["label"] == STABLE else f"   {row['label']}"))
    return "\n".join(lines)


def _with(scenario: Scenario, policy: str) -> Scenario:
    own = scenario.routing
    routing = own.model_copy(
        update={"policy": policy, "parameters": own.parameters if policy == own.policy else {}},
    )
    return scenario.model_copy(update={"routing": Routing.model_validate(routing.model_dump())})


def _turn_j_s(turns: Mapping[str, NDArray[Any]], gamma: float) -> NDArray[np.float64]:
    total: NDArray[np.float64] = turns["ttft_s"] + gamma * turns["resident_stall_s"]
    return total


def _mean_j_s(turns: Mapping[str, NDArray[Any]], ended: NDArray[np.bool_], gamma: float) -> float:
    """Return J a turn over the turns that ended in every run [s]."""
    return float(np.mean(_turn_j_s(turns, gamma)[ended])) if ended.any() else 0.0


def _plan(runs: Sequence[Results], gamma: float) -> frozenset[tuple[str, int]]:
    """Return the turns that cost less appended than handed over, in the mean of `runs`."""
    appended = np.stack([run.turns["arm"] == Arm.APPEND_D.value for run in runs])
    cost = np.stack([_turn_j_s(run.turns, gamma) for run in runs])
    known = ~np.isnan(cost)
    sums = [np.sum(np.where(arm & known, cost, 0.0), axis=0) for arm in (appended, ~appended)]
    counts = [np.sum(arm & known, axis=0) for arm in (appended, ~appended)]
    # An arm that nobody tried is not taken.
    means = [
        np.where(count > 0, total / np.maximum(count, 1), np.inf) for total, count in zip(sums, counts, strict=True)
    ]
    chosen = means[0] < means[1]
    turns = runs[0].turns
    return frozenset(
        (str(conversation), turn)
        for conversation, turn in zip(
            turns["conversation_id"][chosen].tolist(), turns["turn"][chosen].tolist(), strict=True
        )
    )
