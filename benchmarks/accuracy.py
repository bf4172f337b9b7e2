"""How accurate the committed profiles are on what they have not seen: the tables of docs/design/accuracy-tables.md.

    python benchmarks/accuracy.py -o docs/design/accuracy-tables.md      (some minutes)

`ppdsim validate` of every profile under calibration/ against its own run, whose cells are left out or held out, and
against every other committed run. Why a number is what it is: docs/design/accuracy.md, `benchmarks/residuals.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from ppdsim import measurements, profile
from ppdsim.accuracy import ANCHORED, ANOTHER_RUN, HELD_OUT, LEFT_OUT, CellErrors, LoadErrors, RateCell, Validation
from ppdsim.measurements import Measurements
from ppdsim.types import arm_name
from ppdsim.validate import validate
from ppdsim.validate.gates import by_interval, pooled_coverage

HERE = Path(__file__).parent.parent / "calibration"
FAMILY = "_llama-3.1-8b_sglang-0.5.17"
"""What the names of all runs have in common; the tables leave it out."""
KINDS = (
    "append-d", "p-full:nvlink", "p-full:tcp", "p-delta:nvlink", "p-delta:tcp", "decode", "stall",
)  # fmt: skip
MS = 1e3
NEAR = {"e2e": 0.05, "tpot": 0.04, "ttft": 0.12}
"""Errors of medians [1] that loads are counted within."""
FEWEST_PROBES = 10
"""Probes of one kind that a 90th percentile is told of."""


def short(name: str) -> str:
    """Return a run's name without what all have in common."""
    return name.replace(FAMILY, "")


def own_run(found: Validation) -> bool:
    """Return whether a profile was compared with the run it was fitted to."""
    return any(row.scope == LEFT_OUT for row in found.cells)


def borrowed(found: Sequence[Validation]) -> list[Validation]:
    """Return the validations of runs that have no profile, by the profiles whose name begins with the same GPU."""
    fitted = {v.profile for v in found}
    return [v for v in found for run in v.measurements if run not in fitted and gpu(run) == gpu(v.profile)]


def gpu(name: str) -> str:
    """Return the GPU that a run or profile is named after.

    >>> gpu("h100x2_llama-3.1-8b_sglang-0.5.17")
    'h100'
    """
    return name.partition("x")[0]


def page(found: Sequence[Validation], runs: Sequence[Measurements]) -> str:
    """Return all tables as Markdown; every validation is of one profile against one run."""
    own = [v for v in found if own_run(v)]
    lines = [
        "# Accuracy in tables",
        "",
        "Written by `python benchmarks/accuracy.py -o docs/design/accuracy-tables.md`; what the numbers mean and where",
        "they come from is in [accuracy](accuracy.md). Errors are absolute and relative, in per cent, median / 90th",
        "percentile; in brackets the number of cells. **Bold**: over the target. Runs are named without",
        f"`{FAMILY}`.",
        "",
        f"By the profiles of their own runs {in_all(own)}",
    ]
    for title, rows in (
        ("Unseen cells of the profile's own run", own_cells(own)),
        ("The same request again: probes against their own median", repeatability(runs)),
        ("Cells of another run", other_cells([v for v in found if not own_run(v)])),
        ("Coverage of the stated 90 % intervals", coverage(found)),
        ("Arms: the cheaper one, append against hand-off", decisions(found)),
        ("Loads, by the profile of their own run", loads(own)),
        ("Loads of a run without a profile, by those of the same GPU", loads(borrowed(found))),
        ("J at fixed prompts, gamma = 1", j_errors(own)),
        ("Measured r\\* at fixed prompts, gamma = 1", rates(own)),
    ):
        lines += ["", f"## {title}", "", *rows]
    return "\n".join(lines) + "\n"


def _table(header: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + " --- |" * len(header)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _errors(row: CellErrors | None) -> str:
    if row is None:
        return ""
    text = f"{100 * row.median:.1f} / {100 * row.p90:.1f}"
    return f"**{text}** ({row.cells})" if row.meets_target is False else f"{text} ({row.cells})"


def _find(found: Validation, kind: str, scope: str) -> CellErrors | None:
    return next((row for row in found.cells if (row.kind, row.scope) == (kind, scope)), None)


def own_cells(own: Sequence[Validation]) -> Iterator[str]:
    """One line a kind: its target, then left-out and held-out cells of every run that was fitted."""
    columns = [(v, scope) for v in own for scope in (LEFT_OUT, HELD_OUT) if any(r.scope == scope for r in v.cells)]
    header = ["kind", "target", *(f"{short(v.profile)}, {scope}" for v, scope in columns)]

    def rows() -> Iterator[Sequence[str]]:
        for kind in KINDS:
            cells = [_find(v, kind, scope) for v, scope in columns]
            aim = next((r for r in cells if r is not None and r.target_median is not None), None)
            target = "" if aim is None else f"{100 * (aim.target_median or 0):g} / {100 * (aim.target_p90 or 0):g}"
            yield [kind, target, *map(_errors, cells)]

    yield from _table(header, rows())


def other_cells(found: Sequence[Validation]) -> Iterator[str]:
    """One line a profile and a run that it was not fitted to; a second one with the floor of that run's probes."""

    def rows() -> Iterator[Sequence[str]]:
        for v in found:
            for scope in (ANOTHER_RUN, ANCHORED):
                if any(row.scope == scope for row in v.cells):
                    floor = "" if scope == ANOTHER_RUN else ", floor anchored"
                    what = f"{short(v.profile)} to {short(v.measurements[0])}{floor}"
                    yield [what, *(_errors(_find(v, kind, scope)) for kind in KINDS)]

    yield from _table(["profile to run", *KINDS], rows())


def coverage(found: Sequence[Validation]) -> Iterator[str]:
    """One line a profile and run: the share of cells inside their interval."""

    def rows() -> Iterator[Sequence[str]]:
        for v in found:
            shares = {name: f"{100 * pooled_coverage(part):.0f} %" for name, part in by_interval(v.cells)}
            yield [
                f"{short(v.profile)} to {short(v.measurements[0])}",
                ", ".join(f"{name} {share}" for name, share in shares.items()),
            ]

    yield from _table(["profile to run", "inside"], rows())


def decisions(found: Sequence[Validation]) -> Iterator[str]:
    """One line a profile, run and hand-off: how often the arm of lower J was predicted, and the error of N*."""

    def rows() -> Iterator[Sequence[str]]:
        for v in found:
            for row in v.decisions:
                if row.first == "append-d" and row.decided:
                    yield [
                        f"{short(v.profile)} to {short(v.measurements[0])}",
                        row.second,
                        row.scope,
                        f"{100 * row.right / row.compared:.1f} % of {row.compared}",
                        f"{100 * row.right_decided / row.decided:.1f} % of {row.decided}",
                        *n_star(v, row.scope, row.second),
                    ]

    header = [
        "profile to run",
        "hand-off",
        "unseen as",
        "right",
        "right of decided",
        "N\\*, median error",
        "intervals meet",
    ]
    yield from _table(header, rows())


def repeatability(runs: Sequence[Measurements]) -> Iterator[str]:
    """One line a run: how far its probes, one small request over and over, are from their own median.

    No curve can predict a cell of that size, visited once, better than that.
    """

    def rows() -> Iterator[Sequence[str]]:
        for run in runs:
            groups: dict[tuple[str, int], list[float]] = defaultdict(list)
            for row in run.prefill:
                if row.purpose == "probe":
                    groups[arm_name(row.arm, row.transport), row.new_tokens].append(row.ttft_s)
            for (arm, new_tokens), seconds in sorted(groups.items()):
                if len(seconds) < FEWEST_PROBES:
                    continue
                off = np.abs(np.array(seconds) / median(seconds) - 1.0)
                yield [
                    short(run.manifest.id), arm, str(new_tokens), str(len(seconds)), f"{MS * median(seconds):.1f}",
                    f"{100 * np.median(off):.1f} / {100 * np.quantile(off, 0.9):.1f}",
                ]  # fmt: skip

    yield from _table(["run", "arm", "new tokens", "probes", "median TTFT [ms]", "off by [%]"], rows())


def n_star(found: Validation, scope: str, against: str) -> tuple[str, str]:
    """Return the median error of N* where it is finite both ways, and how often they meet."""
    lines = [c for c in found.crossings if (c.axis, c.scope, c.against) == ("streams", scope, against)]
    errors = [abs(c.predicted / c.measured - 1.0) for c in lines if c.predicted and c.measured]
    if not errors:
        return "", ""
    meet = sum(c.intervals_meet for c in lines if c.predicted and c.measured)
    return f"{100 * median(errors):.0f} % ({len(errors)})", f"{meet} of {len(errors)}"


def loads(own: Sequence[Validation]) -> Iterator[str]:
    """One line a load and floor: the signed errors of later turns."""

    def cell(part: dict[str, LoadErrors], quantity: str, *, tail: bool = True) -> str:
        row = part.get(quantity)
        if row is None:
            return ""
        text = f"{100 * row.p50_error:+.0f}" + (f" / {100 * row.p90_error:+.0f}" if tail else "")
        return f"**{text}**" if row.gated and row.meets_target is False else text

    def rows() -> Iterator[Sequence[str]]:
        for v in own:
            for load, arm, anchored in dict.fromkeys((r.load, r.arm, r.anchored) for r in v.loads):
                part = {
                    r.quantity: r
                    for r in v.loads
                    if (r.load, r.arm, r.anchored, r.turn_class) == (load, arm, anchored, "later turns")
                }
                if not part:
                    continue
                one = next(iter(part.values()))
                run = short(v.profile) if own_run(v) else f"{short(v.profile)} to {short(v.measurements[0])}"
                yield [
                    run, load, arm, "of the run's probes" if anchored else "of the fit", str(one.turns),
                    f"{100 * one.utilisation:.0f} %", cell(part, "ttft"), cell(part, "tpot"), cell(part, "itl_max"),
                    cell(part, "e2e"),
                ]  # fmt: skip

    header = [
        "run", "load", "arm", "launch floor", "later turns", "prefill busy", "TTFT p50 / p90 [%]", "TPOT",
        "largest ITL", "E2E",
    ]  # fmt: skip
    yield from _table(header, rows())


def j_errors(own: Sequence[Validation]) -> Iterator[str]:
    """One line a run and arm: the error of the predicted J where D is idle, and beside its streams."""

    def rows() -> Iterator[Sequence[str]]:
        for v in own:
            for arm in dict.fromkeys(r.arm for r in v.rates):
                cells = [r for r in v.rates if r.arm == arm]
                yield [short(v.profile), arm, *(
                    error([r for r in cells if bool(r.residents) == beside]) for beside in (False, True)
                )]  # fmt: skip

    def error(cells: Sequence[RateCell]) -> str:
        if not cells:
            return ""
        off = [abs(r.predicted_s / r.measured_s - 1.0) for r in cells]
        middle, high = np.quantile(off, [0.5, 0.9])
        return f"{100 * middle:.1f} / {100 * high:.1f} ({len(cells)})"

    yield from _table(["run", "arm", "J, no stream on D", "J beside streams"], rows())


Place = tuple[int, int, str, list[tuple[RateCell, RateCell]]]


def compared(v: Validation) -> Iterator[Place]:
    """Yield prompt, streams and hand-off of each experiment with (append, hand-off) at every rate that both have."""
    for total, residents in dict.fromkeys((r.total_tokens, r.residents) for r in v.rates):
        part = [r for r in v.rates if (r.total_tokens, r.residents) == (total, residents)]
        appends = {r.cache_rate: r for r in part if r.arm == "append-d"}
        for arm in dict.fromkeys(r.arm for r in part if r.arm != "append-d"):
            both = [(appends[r.cache_rate], r) for r in part if r.arm == arm and r.cache_rate in appends]
            if both:
                yield total, residents, arm, both


def right(both: Sequence[tuple[RateCell, RateCell]]) -> int:
    """Return at how many places the arm of lower measured J is the predicted one."""
    return sum((d.measured_s < p.measured_s) == (d.predicted_s < p.predicted_s) for d, p in both)


def rates(own: Sequence[Validation]) -> Iterator[str]:
    """One line a run, prompt, batch and hand-off: J at the lowest and highest rate, and r* where it was crossed."""

    def rows() -> Iterator[Sequence[str]]:
        for v in own:
            for total, residents, arm, both in compared(v):
                at = (arm, total, residents)
                lines = [c for c in v.rate_crossings if (c.against, c.fixed_tokens, c.residents) == at]
                line = lines[0] if lines else None
                found = [
                    "none" if value is None else f"{value:.2f}"
                    for value in (None if line is None else line.measured, None if line is None else line.predicted)
                ]
                yield [
                    short(v.profile), str(total), str(residents), arm,
                    *(f"{MS * d.measured_s:.0f} / {MS * p.measured_s:.0f}" for d, p in (both[0], both[-1])),
                    f"{both[0][0].cache_rate:.1f} to {both[-1][0].cache_rate:.1f}", *found,
                    f"{right(both)} of {len(both)}",
                ]  # fmt: skip

    header = [
        "run", "prompt", "streams", "hand-off", "J of append / hand-off at the lowest r [ms]", "at the highest r",
        "rates", "r\\* measured", "r\\* predicted", "cheaper arm right",
    ]  # fmt: skip
    yield from _table(header, rows())


def in_all(own: Sequence[Validation]) -> str:
    """Return the counts that README and the page of words state."""
    places = [pair for v in own for *_, both in compared(v) for pair in both]
    later = [r for v in own for r in v.loads if r.turn_class == "later turns" and not r.anchored]
    near = (
        f"{quantity.upper()} within {100 * limit:.0f} % in {sum(abs(r.p50_error) <= limit for r in found)} "
        f"of {len(found)}"
        for quantity, limit in NEAR.items()
        for found in [[r for r in later if r.quantity == quantity]]
    )
    return (
        f"the cheaper arm is the predicted one at {right(places)} of {len(places)} held-out places; "
        f"of loads the median of later turns has {', '.join(near)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, help="page to write; by default it is printed")
    chosen = parser.parse_args()
    runs = {path.name: measurements.read(path) for path in sorted((HERE / "measurements").iterdir())}
    fitted = [profile.load(path) for path in sorted((HERE / "profiles").glob("*.json"))]
    found = []
    for one in fitted:
        for run in runs.values():
            print(f"{one.id} against {run.manifest.id}", file=sys.stderr)
            found.append(validate(one, [run]))
    text = page(found, list(runs.values()))
    if chosen.out is None:
        print(text)
    else:
        chosen.out.write_text(text)


if __name__ == "__main__":
    main()
