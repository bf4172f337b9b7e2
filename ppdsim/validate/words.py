"""The accuracy card in words: tables no wider than 120 columns, then the gates that do not hold, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ppdsim.accuracy import SYMBOLS, CellErrors, CrossingCheck, Decisions, LoadErrors, RateCell, Validation
from ppdsim.metrics import is_known, median
from ppdsim.types import Arm
from ppdsim.units import MS_PER_S
from ppdsim.validate.gates import by_interval, pooled_coverage
from ppdsim.validate.targets import ODD


def to_text(found: Validation) -> str:
    """Return the accuracy card."""
    lines = [f"{found.profile} against {', '.join(found.measurements)}", ""]
    lines += _cells(found.cells)
    lines += _decisions(found.decisions)
    lines += _crossings(found.crossings)
    lines += _rates(found.rates, found.rate_crossings)
    lines += _loads(found.loads)
    for row in found.rankings:
        verdict = "right" if row.measured == row.predicted else "WRONG"
        lines.append(
            f"  order of arms by {row.quantity} of later turns, load {row.load} ({row.measurements}): "
            f"measured {' < '.join(row.measured)}, simulated {' < '.join(row.predicted)}: {verdict}"
        )
    missed = [gate for gate in found.gates if not gate.passed]
    lines += ["", f"  Gates: {len(found.gates) - len(missed)} of {len(found.gates)} hold"]
    lines += [f"    {'FAILED' if gate.required else 'missed'}: {gate.name}; found {gate.found}" for gate in missed]
    lines += [f"  note: {note}" for note in found.notes]
    return "\n".join(lines)


def _target(first: float | None, second: float | None) -> str:
    return "-" if first is None or second is None else f"{100 * first:g} / {100 * second:g}"


def _cells(rows: Sequence[CellErrors]) -> Iterator[str]:
    yield "  Cells: absolute relative error in %, and the share inside the stated 90 % interval"
    yield (
        f"  {'kind':<15}{'unseen as':<19}{'cells':>6}{'median':>8}{'p90':>7}{'max':>7}{'bias':>7}{'noise':>7}"
        f"{'target':>12}{'inside':>8}  largest at"
    )
    for run in dict.fromkeys(row.measurements for row in rows):
        yield f"  {run}"
        for row in (r for r in rows if r.measurements == run):
            high = _tail(f"{100 * row.p90:.1f}", 0.9, row.cells)
            noise = "-" if row.noise is None else f"{100 * row.noise:.1f}"
            mark = "" if row.meets_target is not False else "!"
            yield (
                f"  {row.kind:<15}{row.scope:<19}{row.cells:>6}{100 * row.median:>8.1f}{high:>7}"
                f"{100 * row.maximum:>7.1f}{100 * row.bias:>+7.1f}{noise:>7}"
                f"{_target(row.target_median, row.target_p90) + mark:>12}{100 * row.coverage:>6.0f} %  {row.worst}"
            )
    if not all(is_known(0.9, row.cells) for row in rows):
        yield "  p90 in brackets: fewer than 10 cells, so it is hardly more than the largest"
    yield from _candidates(rows)
    for name, part in by_interval(rows):
        yield f"  pooled coverage {name}: {100 * pooled_coverage(part):.0f} %"


def _tail(text: str, share: float, rows: int) -> str:
    """Return a quantile's text, in brackets where too few rows show it."""
    return text if is_known(share, rows) else f"({text})"


def _candidates(rows: Sequence[CellErrors]) -> Iterator[str]:
    """Name, for each kind, the column that its error goes with most, where chance would seldom make it so."""
    for row in rows:
        known = [(each.chance * len(row.candidates), each) for each in row.candidates if each.chance is not None]
        chance, first = min(known, key=lambda pair: pair[0], default=(1.0, None))
        if first is not None and first.rank_correlation is not None and chance < ODD:
            yield (
                f"  error of {row.kind}, {row.scope}, {row.measurements}: rises or falls with {first.name}, "
                f"rank correlation {first.rank_correlation:+.2f}"
            )


def _decisions(rows: Sequence[Decisions]) -> Iterator[str]:
    if not rows:
        return
    yield ""
    yield "  Decisions: the arm of lower J, over prices and batches; decided: beyond noise and drift"
    yield (f"  {'arms':<32}{'unseen as':<16}{'right':>13}{'right of decided':>18}{'regret, mean / max':>22}")
    for row in rows:
        yield (
            f"  {row.first + ' or ' + row.second:<32}{row.scope:<16}{_share(row.right, row.compared):>13}"
            f"{_share(row.right_decided, row.decided):>18}"
            f"{f'{MS_PER_S * row.regret_mean_s:.1f} / {MS_PER_S * row.regret_max_s:.1f} ms':>22}"
        )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} % of {whole}" if whole else "-"


def _crossings(rows: Sequence[CrossingCheck]) -> Iterator[str]:
    """Sum N* and the level lines up by arm: how many cross in both, how far apart, how often the intervals meet."""
    if not rows:
        return
    yield ""
    yield "  N* and level lines at gamma = 1: predicted, and from measured cells (each one: validation.json)"
    yield (
        f"  {'line':<28}{'unseen as':<16}{'cross in both':>15}{'in one only':>13}{'median error':>14}"
        f"{'intervals meet':>16}"
    )
    for key in dict.fromkeys((row.axis, row.against, row.scope) for row in rows):
        part = [row for row in rows if (row.axis, row.against, row.scope) == key]
        both = [(row, p, m) for row in part if (p := row.predicted) is not None and (m := row.measured) is not None]
        name = SYMBOLS[key[0]]
        error = "-" if not both else _error_of(both, relative=key[0] != "r")
        meet = sum(row.intervals_meet for row, _, _ in both)
        yield (
            f"  {f'{name} against {key[1]}':<28}{key[2]:<16}{len(both):>15}{len(part) - len(both):>13}{error:>14}"
            f"{f'{meet} of {len(both)}':>16}"
        )


def _error_of(both: Sequence[tuple[CrossingCheck, float, float]], *, relative: bool) -> str:
    if relative:
        return f"{100 * median([abs(p / m - 1.0) for _, p, m in both]):.0f} %"
    return f"{median([abs(p - m) for _, p, m in both]):.3f}"


def _rates(rows: Sequence[RateCell], lines: Sequence[CrossingCheck]) -> Iterator[str]:
    """One line a prompt, batch and arm: J at every cache rate, measured and predicted; then r* by hand-off."""
    for run, total, residents in dict.fromkeys((row.measurements, row.total_tokens, row.residents) for row in rows):
        part = [row for row in rows if (row.measurements, row.total_tokens, row.residents) == (run, total, residents)]
        columns = sorted({row.cache_rate for row in part})
        yield ""
        yield (
            f"  J at fixed prompts, {part[0].scope}: {total} tokens, {residents} streams on D, {run}; "
            "measured -> predicted [ms], * outside the 90 % interval"
        )
        yield f"    {'r':<16}" + "".join(f"{rate:>20.2f}" for rate in columns)
        for arm in dict.fromkeys(row.arm for row in part):
            cells = {row.cache_rate: row for row in part if row.arm == arm}
            yield f"    {arm:<16}" + "".join(f"{_rate(cells[rate]) if rate in cells else '-':>20}" for rate in columns)
        found = {
            line.against: line
            for line in lines
            if (line.measurements, line.fixed_tokens, line.residents) == (run, total, residents)
        }
        for against, verdict in _verdicts(part, found):
            yield f"    r* against {against}: {verdict}"


def _verdicts(part: Sequence[RateCell], found: Mapping[str, CrossingCheck]) -> Iterator[tuple[str, str]]:
    """Yield each hand-off and its r*, or which arm was cheaper at every rate that both were measured at."""
    appends = {row.cache_rate: row for row in part if row.arm == Arm.APPEND_D.value}
    for arm in dict.fromkeys(row.arm for row in part if row.arm != Arm.APPEND_D.value):
        both = [(row, appends[row.cache_rate]) for row in part if row.arm == arm and row.cache_rate in appends]
        if arm in found:
            line = found[arm]
            yield arm, f"measured {_crossing(line.measured)}, predicted {_crossing(line.predicted)}"
        elif both:
            cheaper = "append-d" if both[0][0].measured_s > both[0][1].measured_s else arm
            yield (
                arm,
                f"none between {both[0][0].cache_rate:.2f} and {both[-1][0].cache_rate:.2f}: {cheaper} is cheaper",
            )


def _rate(cell: RateCell) -> str:
    mark = "" if cell.low_s <= cell.measured_s <= cell.high_s else "*"
    return f"{MS_PER_S * cell.measured_s:.1f} -> {MS_PER_S * cell.predicted_s:.1f}{mark}"


def _crossing(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _loads(rows: Sequence[LoadErrors]) -> Iterator[str]:
    if not rows:
        return
    yield ""
    yield "  Loads: recorded conversations through the simulator; measured -> simulated [ms] (relative error)"
    if not all(is_known(0.99, row.turns) for row in rows):
        yield "  p90 or p99 in brackets: fewer than 10 or 100 turns, so it is hardly more than the largest"
    run = None
    for key in dict.fromkeys(row.load_key for row in rows):
        part = [row for row in rows if row.load_key == key]
        first = part[0]
        if first.measurements != run:
            run = first.measurements
            yield f"  {run}"
        floor = "launch floor from this run's probes" if first.anchored else "launch floor of the profile"
        yield f"  {first.load}, {first.arm}, {floor}; busiest: {first.busiest}, {100 * first.utilisation:.0f} %"
        for row in part:
            note = "" if row.meets_target is None else " (not gated)" if not row.gated else ""
            miss = "!" if row.gated and row.meets_target is False else ""
            yield (
                f"    {row.turn_class:<12}{row.quantity:<8}{row.turns:>5} turns"
                f"{_pair(row.measured_p50_s, row.predicted_p50_s, row.p50_error, 0.5, row.turns)}"
                f"{_pair(row.measured_p90_s, row.predicted_p90_s, row.p90_error, 0.9, row.turns)}"
                f"{_pair(row.measured_p99_s, row.predicted_p99_s, row.p99_error, 0.99, row.turns)}"
                f"  KS {row.ks:.2f}{miss}{note}"
            )


def _pair(measured: float, predicted: float, error: float, share: float, turns: int) -> str:
    numbers = f"{MS_PER_S * measured:.1f} -> {MS_PER_S * predicted:.1f} ({100 * error:+.0f} %)"
    name = _tail(f"p{100 * share:g}", share, turns)
    return f"  {name} {numbers:<23}"
