"""Which words a what-if uses in which case, and how its table prints what it has and what it lacks."""

from __future__ import annotations

from itertools import permutations

import pytest

from ppdsim.comparison import Alternative, Difference, Estimate, MachineUse, Verdict
from ppdsim.whatif import words


def known(mean: float, half: float | None = None) -> Estimate:
    return Estimate(mean=mean, low=None if half is None else mean - half, high=None if half is None else mean + half)


def alternative(name: str, attained: float, *, disaggregated: bool = False, **changed: object) -> Alternative:
    usual = {
        "name": name,
        "fleet": name,
        "transport": "nvlink",
        "policy": "always-p",
        "disaggregated": disaggregated,
        "labels": ("STABLE",),
        "goodput_per_s": known(2 * attained),
        "goodputs_per_s": (2 * attained,),
        "attainment": known(attained),
        "attainments": (attained,),
        "ttft_mean_s": known(0.1),
        "ttft_p99_s": known(0.2),
        "tpot_mean_s": known(0.01),
        "appended": known(0.0),
        "extrapolated": 0.0,
        "distributions": (),
    }
    return Alternative(**{**usual, **changed})


BACK = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}


def differences(found: list[Alternative], verdicts: dict[tuple[str, str], Verdict], half: float | None = None):
    """Return every difference of two, with these verdicts; each also the other way round."""
    both = {**verdicts, **{(b, a): BACK.get(verdict, verdict) for (a, b), verdict in verdicts.items()}}
    return [
        Difference(
            first=a.name,
            second=b.name,
            attainment=known(a.attainment.mean - b.attainment.mean, half),
            verdict=both[a.name, b.name],
        )
        for a, b in permutations(found, 2)
    ]


STARTS = {
    Verdict.BETTER: "Disaggregate",
    Verdict.WORSE: "Do not disaggregate",
    Verdict.EQUAL: "Disaggregation makes no difference",
    Verdict.UNDECIDED: "Undecided",
}


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("half", [0.02, None])
def test_with_fleets_of_both_kinds_the_best_of_each_are_compared(verdict, half):
    found = [
        alternative("4U", 0.875),
        alternative("2U", 0.5),
        alternative("1P_3D", 0.75, disaggregated=True),
        alternative("3P_1D", 0.625, disaggregated=True),
    ]
    named = [each.name for each in found]
    verdicts = dict.fromkeys(permutations(named, 2), Verdict.UNDECIDED)
    verdicts = {pair: given for pair, given in verdicts.items() if pair[0] < pair[1]}
    verdicts["1P_3D", "4U"] = verdict
    first, second = words.answer(found, differences(found, verdicts, half), basis="over 3 seeds, 90 % intervals")
    interval = " (-14.5 to -10.5)" if half else ""
    assert first == (
        f"{STARTS[verdict]}: 1P_3D keeps the limits in 75.0% of turns (1.5 good turns/s), 4U in 87.5% (1.75), "
        f"a difference of -12.5{interval} points (over 3 seeds, 90 % intervals)."
    )
    assert second == "Mean TTFT: 4U 100.0 ms, 2U 100.0 ms, 1P_3D 100.0 ms, 3P_1D 100.0 ms."


BEST = {
    # verdicts of a (the best) against b and c; what is said of them
    "the best is better than all": (
        (Verdict.BETTER, Verdict.BETTER),
        "Best: a keeps the limits in 75.0% of turns (1.5 good turns/s); least c in 50.0% (1), a difference of -25.0",
    ),
    "one cannot be told from the best": (
        (Verdict.UNDECIDED, Verdict.BETTER),
        "Undecided: a keeps the limits in 75.0% of turns (1.5 good turns/s), b in 62.5% (1.25); least c in 50.0% (1), "
        "a difference of -25.0",
    ),
    "one is equal to the best": (
        (Verdict.EQUAL, Verdict.BETTER),
        "Best: a keeps the limits in 75.0% of turns (1.5 good turns/s), b in 62.5% (1.25); least c in 50.0% (1), "
        "a difference of -25.0",
    ),
    "none can be told from another": (
        (Verdict.UNDECIDED, Verdict.UNDECIDED),
        "Undecided: a keeps the limits in 75.0% of turns (1.5 good turns/s), b in 62.5% (1.25), c in 50.0% (1)",
    ),
    "one is equal, one undecided": (
        (Verdict.EQUAL, Verdict.UNDECIDED),
        "Undecided: a keeps the limits in 75.0% of turns (1.5 good turns/s), b in 62.5% (1.25), c in 50.0% (1)",
    ),
    "all are equal": (
        (Verdict.EQUAL, Verdict.EQUAL),
        "No difference: a keeps the limits in 75.0% of turns (1.5 good turns/s), and the others differ by less than a "
        "point",
    ),
}


@pytest.mark.parametrize("case", BEST)
@pytest.mark.parametrize("disaggregated", [False, True])
def test_with_fleets_of_one_kind_the_best_is_named_or_not(case, disaggregated):
    (to_b, to_c), expected = BEST[case]
    found = [alternative(n, s, disaggregated=disaggregated) for n, s in (("c", 0.5), ("a", 0.75), ("b", 0.625))]
    verdicts = {("a", "b"): to_b, ("a", "c"): to_c, ("b", "c"): Verdict.BETTER}
    first, _ = words.answer(found, differences(found, verdicts), basis="over 1 seed")
    assert first == f"{expected}{' points' if 'a difference of' in expected else ''} (over 1 seed)."


def test_an_overloaded_alternative_is_named_so():
    found = [alternative("a", 0.75), alternative("b", 0.5, labels=("STABLE", "OVERLOADED"))]
    first, _ = words.answer(found, differences(found, {("a", "b"): Verdict.BETTER}), basis="over 2 seeds")
    assert "least b, overloaded, in 50.0% (1)" in first


@pytest.mark.parametrize("appended", [0.0, 0.25, 1.0])
def test_the_share_appended_is_said_where_a_policy_chooses(appended):
    found = [alternative("a", 0.75), alternative("b", 0.5, appended=known(appended), ttft_mean_s=None)]
    _, second = words.answer(found, differences(found, {("a", "b"): Verdict.BETTER}), basis="")
    assert second == {
        0.25: "Mean TTFT (share of turns appended on D): a 100.0 ms (0%), b no answers (25%).",
    }.get(appended, "Mean TTFT: a 100.0 ms, b no answers.")


def test_the_table_has_a_row_an_alternative_and_says_what_its_numbers_are():
    machines = (
        MachineUse(name="P", busy=known(0.5), hit_rate=known(0.25)),
        MachineUse(name="link", busy=known(0.125), hit_rate=None),
    )
    labels = ("STABLE", "OVERLOADED", "BACKLOGGED")
    found = [
        alternative("1P_3D", 0.75, goodput_per_s=known(1.5, 0.25), appended=known(0.3), machines=machines),
        alternative("4U", 0.5, **dict.fromkeys(("ttft_mean_s", "ttft_p99_s", "tpot_mean_s")), labels=labels),
    ]
    head, first, second, foot, used = words.table(found).splitlines()
    assert head.split() == ["good", "turns/s", "(interval)", "SLO", "met", "TTFT", "TTFT", "p99", "TPOT", "appended"]
    assert first.split() == ["1P_3D", "1.5", "(1.25", "to", "1.75)", "75.0%", "100.0", "200.0", "10.0", "30%"]
    assert second.split() == ["4U", "1", "50.0%", "-", "-", "-", "0%", "BACKLOGGED,", "OVERLOADED"]
    assert foot == "times in ms: mean over the seeds of each run's mean or p99; good turns keep every limit of the SLO"
    assert used.split(None, 1) == ["1P_3D", "P busy 50%, 25% of prompt tokens cached; link busy 12%"]
