"""The results of a run: one row a turn, a summary, and where they come from.

Columns (seconds and tokens; NaN or an empty cell is "undefined"; times count from the start of the run, at the client
unless said otherwise):

=========================  ===========================================================================================
``cached_tokens``          prompt tokens that the turn reuses: on the decode machine for append-d and p-delta (what is
                           not computed, or not sent), on P for p-full
``prefill_cached_tokens``  prompt tokens cached on the node that prefills
``new_tokens``             ``input_tokens - cached_tokens``
``decode_held_tokens``     prompt tokens that the decode machine has cached as the turn arrives, whoever prefills
``decode_streams``         streams that decode on it just then
``queue_s``                waits: at a capped front end, for pages on D, and for the first forward
``kv_wait_s``              of it, the wait of a hand-off for pages on D
``t_prefill_start_s``      start of the first forward, at the engine
``prefill_s``              from there to the end of the last one
``kv_transfer_s``          time of the turn's KV on the wire; ``kv_transfer_exposed_s``: after the prefill's end
``resident_stall_s``       stream-seconds that other streams on the decode machine lost to this turn
=========================  ===========================================================================================

The other names are in docs/glossary.md, the definitions in :mod:`ppdsim.metrics`.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ppdsim import extras, metrics
from ppdsim.activity import Activity
from ppdsim.columns import Columns
from ppdsim.files import whole
from ppdsim.printable import cell
from ppdsim.types import Arm
from ppdsim.units import format_s

if TYPE_CHECKING:
    import pandas as pd

TURN_COLUMNS = (
    "run_id", "seed", "conversation_id", "turn", "request_id", "slo_class", "arm", "transport", "prefill_node",
    "decode_node", "input_tokens", "cached_tokens", "prefill_cached_tokens", "new_tokens", "decode_held_tokens",
    "decode_streams", "output_tokens", "t_arrival_s", "t_prefill_start_s", "t_first_token_s", "t_last_token_s",
    "queue_s", "kv_wait_s", "prefill_s", "kv_transfer_s", "kv_transfer_exposed_s", "ttft_s", "tpot_s", "itl_p99_s",
    "itl_max_s", "e2e_s", "slo_met", "status", "extrapolated", "resident_stall_s",
)  # fmt: skip
ROWS_AT_A_TIME = 10_000
"""Rows of a file that are Python objects at the same time."""
ARMS = tuple(arm.value for arm in Arm)
STATUSES = ("ok", "rejected", "timed_out", "unfinished")
SCHEMA = "ppdsim/summary/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """One run.

    Attributes
    ----------
    turns : Columns
        One array of equal length a column, in the order of `TURN_COLUMNS`.
    itl_gaps_s, itl_counts : arrays
        The gaps between tokens of the run in bins (`ppdsim.des.gap_histogram`), and how many were felt in each.
    limits : SloLimits
        What `slo_met` was judged by.
    activity : Activity
        What nodes and links did.
    interrupted : bool
        Somebody stopped the run: unfinished turns are no sign of overload, and the summary judges the others.
    unread_keys : tuple of str
        Keys of the scenario file that the run did not read.
    decisions : mapping of str to array, or None
        Each decision with what the other arm would have cost (`ppdsim.routing.decision_log`), if they were logged.
    """

    turns: Columns
    itl_gaps_s: metrics.Column
    itl_counts: metrics.Column
    limits: metrics.SloLimits
    activity: Activity
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    unread_keys: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    decisions: Mapping[str, np.ndarray[Any, Any]] | None = None

    def __len__(self) -> int:
        return len(self.turns["turn"])

    def to_frame(self) -> pd.DataFrame:
        """Return the turns as a pandas frame.

        Raises
        ------
        EnvironmentProblem
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise extras.missing("pandas", by="a frame") from None
        return pd.DataFrame(dict(self.turns))

    @property
    def label(self) -> str:
        """Whether the fleet kept up with what was offered: STABLE, BACKLOGGED or OVERLOADED (`metrics.load_label`)."""
        turns = self.turns
        has, arrived = _masks(turns["status"], STATUSES), ~np.isnan(turns["t_arrival_s"])
        # Beside the queues, a turn waits where its KV takes longer than its own time on the wire.
        wait = turns["queue_s"] + np.maximum(turns["kv_transfer_exposed_s"] - turns["kv_transfer_s"], 0.0)
        return metrics.load_label(
            turns["t_arrival_s"],
            wait,
            turns["ttft_s"] - wait,
            last_start_s=float(np.max(turns["t_arrival_s"], where=arrived & (turns["turn"] == 0), initial=0.0)),
            unfinished=0 if self.interrupted else int(np.sum(has["unfinished"] | has["timed_out"])),
        )

    def summary(self) -> dict[str, Any]:
        """Return the run in numbers, ready for JSON (undefined values are None)."""
        turns = self.turns
        has = _masks(turns["status"], STATUSES)
        ok = has["ok"]
        arrived = ~np.isnan(turns["t_arrival_s"])
        offered = (ok if self.interrupted else arrived) | has["rejected"]
        span_s = float(np.max(turns["t_last_token_s"][ok]) - np.min(turns["t_arrival_s"][arrived])) if ok.any() else 0.0
        met = turns["slo_met"].astype(bool)
        answers = float(turns["output_tokens"][ok].sum())
        took = {arm: mask & ok for arm, mask in _masks(turns["arm"], sorted(ARMS)).items()}
        known = np.logical_or.reduce(list(took.values()))
        moved = known & ~took[Arm.APPEND_D.value]
        arms = {arm: float(np.sum(mask) / known.sum()) for arm, mask in took.items() if mask.any()}
        return {
            "schema": SCHEMA,
            "turns": len(self),
            "status": {name: int(np.sum(mask)) for name, mask in has.items()},
            "label": self.label,
            "ttft_s": metrics.describe(turns["ttft_s"]),
            "tpot_s": metrics.describe(turns["tpot_s"]),
            "itl_s": metrics.describe(self.itl_gaps_s, self.itl_counts),
            "e2e_s": metrics.describe(turns["e2e_s"]),
            "kv_transfer_s": metrics.describe(turns["kv_transfer_s"][moved]),
            "kv_transfer_exposed_s": metrics.describe(turns["kv_transfer_exposed_s"][moved]),
            "queue_s": metrics.describe(turns["queue_s"]),
            "resident_stall_s": {"sum": float(np.nansum(turns["resident_stall_s"]))},
            "span_s": span_s,
            "throughput": {
                "turns_per_s": float(ok.sum()) / span_s if span_s > 0 else None,
                "output_tokens_per_s": answers / span_s if span_s > 0 else None,
            },
            "goodput": {
                "limits": {
                    "ttft_s": self.limits.ttft_s,
                    "tpot_s": self.limits.tpot_s,
                    "itl_max_s": self.limits.itl_max_s,
                },
                "turns_per_s": metrics.goodput_per_s(met, span_s),
                "attainment": metrics.attainment(met, offered),
            },
            "arms": arms,
            **self.activity.summary(turns),
            "regret": None if self.decisions is None else _regret(self.decisions),
            "extrapolated": float(np.mean(turns["extrapolated"].astype(bool)[known])) if known.any() else None,
            "notes": list(self.notes),
            "unread_keys": list(self.unread_keys),
            "provenance": dict(self.provenance),
        }

    def save(self, directory: Path, turns_format: Literal["csv", "parquet"] = "csv") -> tuple[Path, ...]:
        """Write the turns and summary.json into `directory`; each file appears whole or not at all.

        Raises
        ------
        EnvironmentProblem
            If parquet is asked for and pyarrow is not installed.
        """
        paths = (directory / f"turns.{turns_format}", directory / "summary.json")
        with whole(paths[1]) as summary, whole(paths[0]) as turns:
            if turns_format == "csv":
                self._write_csv(turns)
            else:
                self._write_parquet(turns)
            summary.write_text(json.dumps(self.summary(), indent=1, allow_nan=False) + "\n")
        return paths

    def _write_csv(self, path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(TURN_COLUMNS)
            for begin in range(0, len(self), ROWS_AT_A_TIME):
                rows = slice(begin, begin + ROWS_AT_A_TIME)
                writer.writerows(zip(*(_cells(self.turns.part(name, rows)) for name in TURN_COLUMNS), strict=True))

    def _write_parquet(self, path: Path) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise extras.missing("pyarrow", by="a parquet file") from None
        parquet.write_table(pyarrow.table(dict(self.turns)), path)

    def __str__(self) -> str:
        summary = self.summary()
        arms = ", ".join(f"{share:.0%} {arm}" for arm, share in summary["arms"].items()) or "no turn finished"
        counts = ", ".join(f"{count} {name}" for name, count in summary["status"].items() if count)
        lines = [f"{summary['label']}: {summary['turns']} turns ({counts}); {arms}"]
        for name in ("ttft_s", "tpot_s", "itl_s", "e2e_s", "kv_transfer_s"):
            values = summary[name]
            if values["mean"] is not None:
                shown = ", ".join(f"{key} {format_s(values[key])}" for key in ("mean", "p50", "p90", "p99", "max"))
                lines.append(f"{name.removesuffix('_s').upper().replace('_', ' '):12} {shown}")
        attained, rate = summary["goodput"]["attainment"], summary["throughput"]["turns_per_s"]
        if rate is not None and attained is not None:
            lines.append(f"{rate:.2f} turns/s; {attained:.1%} of the offered turns meet the SLO")
        lines += _machines(summary)
        regret = summary["regret"]
        if regret is not None:
            lines.append(
                f"REGRET       {format_s(regret['mean_s'])} a choice; the arm taken was the more expensive one in"
                f" {regret['more_expensive']} of {regret['choices']} choices, by the estimates at decision time"
            )
        return with_notes(lines, self.notes, self.unread_keys)


def with_notes(lines: Iterable[str], notes: Iterable[str], unread_keys: Sequence[str]) -> str:
    """Return an answer as it is printed: its lines, the notes, and which keys of the scenario file were not read.

    >>> print(with_notes(["12 turns"], ["one GPU"], ["slo.ttft_ms", "seeds"]))
    12 turns
    note: one GPU
    not read from the scenario: slo.ttft_ms, seeds
    """
    unread = [f"not read from the scenario: {', '.join(unread_keys)}"] if unread_keys else []
    return "\n".join([*lines, *(f"note: {note}" for note in notes), *unread])


MACHINES = {"prefill": "P", "decode": "D"}
"""Names of the machines by the keys of the summary; D stands for all that decode."""


def _machines(summary: Mapping[str, Any]) -> list[str]:
    """Return what the machines did and what turns found there, a line each (`ppdsim.activity` has the definitions)."""
    lines: dict[str, list[str]] = {}
    for key, name in MACHINES.items():
        busy, pool, cache = (summary[block][key] for block in ("busy", "kv_pool", "prefix_cache"))
        if pool["mean_share"] is None or busy["mean_share"] is None:
            continue
        lines[name] = [
            f"busy {busy['mean_share']:.0%} of the time",
            f"KV pool {pool['mean_share']:.0%} in use as turns are admitted, {pool['max_share']:.0%} at most",
        ]
        if cache["hit_rate"] is not None:
            lines[name].append(f"{cache['hit_rate']:.1%} of prompt tokens found cached")
        if cache["evictions"]:
            lines[name].append(f"{cache['evictions']:,} evictions of {cache['evicted_tokens']:,} tokens")
        if cache["held_share"] is not None:
            lacked = cache["uncached_tokens"]["p50"]
            lines[name].append(
                f"{cache['held_share']:.0%} of follow-up turns found their previous prompt"
                f" (tokens not cached: median {lacked:,.0f})"
            )
    link, streams, outside = summary["busy"]["link"], summary["decode_streams"], summary["extrapolated"]
    if link["mean_share"] is not None:
        lines["LINK"] = [f"busy {link['mean_share']:.1%} of the time"]
    if streams["p50"] is not None:
        lines["STREAMS"] = [f"decoding as a turn arrives: p50 {streams['p50']:.0f}, p90 {streams['p90']:.0f}"]
    if outside is not None:
        lines["OUTSIDE"] = [f"{outside:.1%} of the turns lie outside what the profile was measured on"]
    return [f"{name:12} {'; '.join(parts)}" for name, parts in lines.items()]


def _masks(texts: np.ndarray[Any, Any], names: Iterable[str]) -> dict[str, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return which rows have each name; the texts, which are large, are done with then."""
    return {name: texts == name for name in names}


def _regret(decisions: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Return what the decisions cost beyond the cheaper arm, by the estimates made when they were taken."""
    regret = decisions["regret_s"]
    choices = int(np.sum(decisions["choice"]))
    return {
        "decisions": len(regret),
        "choices": choices,
        "more_expensive": int(np.sum(regret > 0.0)),
        "sum_s": float(np.sum(regret)),
        "mean_s": float(np.sum(regret)) / choices if choices else 0.0,
        "max_s": float(np.max(regret, initial=0.0)),
    }


def _cells(column: np.ndarray[Any, Any]) -> list[Any]:
    """Return what CSV shows: empty for undefined, true and false in lower case."""
    values: list[Any] = column.tolist()
    if column.dtype.kind == "f":
        return ["" if math.isnan(value) else value for value in values]
    if column.dtype.kind == "b":
        return ["true" if value else "false" for value in values]
    if column.dtype.kind in "UO":
        return [cell(value) for value in values]
    return values
