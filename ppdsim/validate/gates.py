"""Which gates a validation passes: a leak fails every run, with ``--fail-over`` cell errors and coverage do too.

So does a comparison without a cell then: a limit that judged nothing does not hold.

Coverage: the pool of all kinds must lie between 85 and 95 %, within a run and across runs apart; one kind misses only
if a right 90 % interval would give so odd a share with less than 5 % chance (two-sided binomial test). The targets of
docs/design/accuracy.md are listed beside, and never fail a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ppdsim.accuracy import ANCHORED, ANOTHER_RUN, HELD_OUT, LEFT_OUT, CellErrors, Decisions, Gate, LoadErrors
from ppdsim.metrics import is_known
from ppdsim.validate.targets import COVERAGE, ODD, RIGHT_ARM

POOLS: Mapping[str, tuple[str, ...]] = {
    "within run": (LEFT_OUT, HELD_OUT),
    "across runs": (ANOTHER_RUN,),
    "across runs, floor anchored": (ANCHORED,),
}
"""Scopes whose coverage is judged together."""


def gates(
    cells: Sequence[CellErrors],
    decisions: Sequence[Decisions],
    loads: Sequence[LoadErrors],
    leaked: Sequence[str],
    fail_over: float | None,
) -> tuple[Gate, ...]:
    """Return every gate; `fail_over` is the largest median error that passes [share], None: errors fail nothing."""
    leak = Gate(
        name="no held-out cell was fitted",
        found=f"{len(leaked)} leaked: {'; '.join(leaked[:3])}" if leaked else "none leaked",
        passed=not leaked,
        required=True,
    )
    strict = fail_over is not None
    return (
        leak,
        *([] if fail_over is None or cells else [_nothing(loads)]),
        *(_median_gate(row, fail_over) for row in cells if fail_over is not None),
        *_coverage(cells, required=strict),
        *_targets(cells, decisions, loads),
    )


def _nothing(loads: Sequence[LoadErrors]) -> Gate:
    """Return the gate of a limit on errors where there is no error that it limits."""
    beside = f"; {len({load.load for load in loads})} loads were, and the limit is not about loads" if loads else ""
    return Gate(
        name="--fail-over judges at least one cell", found=f"no cell was compared{beside}", passed=False, required=True
    )


def _median_gate(row: CellErrors, limit: float) -> Gate:
    return Gate(
        name=f"{row.kind}, {row.scope} ({row.measurements}): median error at most {limit:.1%}",
        found=f"{row.median:.1%}",
        passed=row.median <= limit,
        required=True,
    )


def _coverage(cells: Sequence[CellErrors], *, required: bool) -> Iterator[Gate]:
    for name, rows in by_interval(cells):
        share = pooled_coverage(rows)
        yield Gate(
            name=f"coverage {name}, all kinds: {COVERAGE[0]:.0%} to {COVERAGE[1]:.0%}",
            found=f"{share:.1%}",
            passed=COVERAGE[0] <= share <= COVERAGE[1],
            required=required,
        )
    for row in cells:
        yield Gate(
            name=f"coverage of {row.kind}, {row.scope} ({row.measurements}): no binomial miss",
            found=f"{row.coverage:.0%} of {row.cells}, p = {row.coverage_p:.3f}",
            passed=row.coverage_p >= ODD,
            required=required,
        )


def by_interval(cells: Sequence[CellErrors]) -> Iterator[tuple[str, list[CellErrors]]]:
    """Yield the rows whose intervals claim the same: within the run, across runs, and across with its own floor."""
    for name, scopes in POOLS.items():
        rows = [row for row in cells if row.scope in scopes]
        if rows:
            yield name, rows


def pooled_coverage(rows: Iterable[CellErrors]) -> float:
    """Return the share of cells inside their interval, every cell counted once."""
    found = list(rows)
    return sum(row.coverage * row.cells for row in found) / sum(row.cells for row in found)


def p90_note(cells: int) -> str:
    """Return the words that a 90th percentile of few cells needs beside it."""
    return "" if is_known(0.9, cells) else f" (p90 of {cells} cells: the largest)"


def _targets(
    cells: Sequence[CellErrors], decisions: Sequence[Decisions], loads: Sequence[LoadErrors]
) -> Iterator[Gate]:
    for row in cells:
        if row.target_median is not None and row.target_p90 is not None:
            yield Gate(
                name=f"target {row.kind}, {row.scope} ({row.measurements}): "
                f"{row.target_median:.1%} / {row.target_p90:.1%}",
                found=f"{row.median:.1%} / {row.p90:.1%}{p90_note(row.cells)}",
                passed=bool(row.meets_target),
                required=False,
            )
    decided = sum(row.decided for row in decisions)
    if decided:
        share = sum(row.right_decided for row in decisions) / decided
        yield Gate(
            name=f"target right arm in {RIGHT_ARM:.0%} of decided comparisons",
            found=f"{share:.2%} of {decided}",
            passed=share >= RIGHT_ARM,
            required=False,
        )
    for load in loads:
        if load.gated and load.target_p50 is not None and load.target_p90 is not None:
            yield Gate(
                name=f"target {load.quantity} of {load.turn_class}, load {load.load}, {load.arm}, "
                f"{'anchored' if load.anchored else 'not anchored'} ({load.measurements}): "
                f"{load.target_p50:.0%} / {load.target_p90:.0%}",
                found=f"{load.p50_error:+.1%} / {load.p90_error:+.1%}",
                passed=bool(load.meets_target),
                required=False,
            )
