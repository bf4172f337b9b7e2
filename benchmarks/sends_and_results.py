"""What P's own log says of its sends and of the gaps between its batches: the priors of `ppdsim.fit.assumed`.

    python benchmarks/sends_and_results.py [RUN_FOLDER] [PROFILE]

`prefill_req_time_stats.txt.gz` of a run over NVLink has one ``ReqTimeStats`` line a request (SGLang 0.5.17,
observability/req_time_stats.py). A send is what P's transfer took for requests that had P to themselves. A batch is the
requests whose forward began together. Where the second of three batches was formed while the first one ran, the third
is formed when the second has ended and the first one's result is handled::

    begin(3) - begin(1) - T(1) - T(2) = a + b requests(1)
    begin(4) - begin(3) - T(3)        = a' + b' requests(2)

with T by the profile's prefill curve, and the second line includes a launch beside a send. Fitted by least absolute
deviations. The run is development data for these terms: they were chosen by looking at it.
"""

from __future__ import annotations

import gzip
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from ppdsim import compose, library, profile
from ppdsim.cost.prefill import PrefillCurve, PrefillWork

RUN = Path("calibration/measurements/h200x2_llama-3.1-8b_sglang-0.5.17_nvlink")
PROFILE = "h200x2_llama-3.1-8b_sglang-0.5.17"
LOG = "prefill_req_time_stats.txt.gz"
LINE = re.compile(
    r"input_len=(\d+), cached_input_len=(\d+).*bootstrap_duration=([\d.]+)ms, queue_duration=([\d.]+)ms, "
    r"forward_duration=([\d.]+)ms, entry_time=([\d.]+), transfer_speed=([\d.]+) GB/s, transfer_total=([\d.]+) MB"
)
TOGETHER_S = 1.5e-3
"""Requests whose forward began within this are of one batch [s]."""
ALONE_S = 0.05
"""No other request of P within this before or after one that was alone [s]."""
LARGEST_GAP_S = 0.04
"""A gap beyond this is an idle P, not one between batches [s]."""
ONE_CHUNK_TOKENS = 8192
MS = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One line of the log."""

    entered_s: float
    begun_s: float
    ended_s: float
    new_tokens: int
    cached_tokens: int
    sent_mb: float
    send_s: float


def read(path: Path) -> list[Request]:
    """Return the requests that sent KV, in the order in which their forwards began."""
    found = []
    with gzip.open(path, "rt") as log:
        matches = [match for match in map(LINE.search, log) if match is not None and float(match[7])]
    for match in matches:
        prompt, cached = int(match[1]), int(match[2])
        bootstrap, queue, forward, entered, speed, total = map(float, match.groups()[2:])
        begun_s = entered + (bootstrap + queue) / MS
        found.append(
            Request(
                entered_s=entered,
                begun_s=begun_s,
                ended_s=begun_s + forward / MS,
                new_tokens=prompt - cached,
                cached_tokens=cached,
                sent_mb=total,
                send_s=total / 1024 / speed,
            )
        )
    return sorted(found, key=lambda request: request.begun_s)


def sends(requests: list[Request]) -> None:
    """Print what a send took where P had nothing else to do."""
    alone = [
        each
        for before, each, after in zip(requests[:-2], requests[1:-1], requests[2:], strict=True)
        if each.entered_s - before.ended_s > ALONE_S and after.entered_s - each.ended_s > ALONE_S
    ]
    print(f"{len(alone)} sends of requests alone on P; 5, 50, 95 %:")
    for low, high in ((0, 1e9), (0, 20), (20, 100), (100, 500), (500, 1500), (1500, 1e9)):
        taken = [MS * each.send_s for each in alone if low <= each.sent_mb < high]
        size = "all" if high - low == 1e9 else f"{low:.0f} MB and more, {len(taken)} of them"
        print(f"  {size:36}" + "".join(f"{x:8.1f} ms" for x in np.quantile(taken, (0.05, 0.5, 0.95))))


def least_absolute(columns: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coefficients of the columns by least absolute deviations."""
    rows, terms = columns.shape
    cost = np.concatenate([np.zeros(terms), np.ones(2 * rows)])
    equal = np.hstack([columns, np.eye(rows), -np.eye(rows)])
    bounds = [(None, None)] * terms + [(0, None)] * (2 * rows)
    return np.asarray(linprog(cost, A_eq=equal, b_eq=values, bounds=bounds).x[:terms])


def gaps(requests: list[Request], curve: PrefillCurve) -> None:
    """Print what passes between batches in a row."""
    batches: list[list[Request]] = []
    for request in requests:
        if batches and request.begun_s - batches[-1][0].begun_s < TOGETHER_S:
            batches[-1].append(request)
        else:
            batches.append([request])

    def forward_s(batch: list[Request]) -> float:
        works = [curve.work(float(each.new_tokens), float(each.cached_tokens)) for each in batch]
        return float(curve.forward_s(PrefillWork(*(sum(parts) for parts in zip(*works, strict=True)))))

    second, third = [], []
    for row in zip(batches, batches[1:], batches[2:], batches[3:], strict=False):
        begun = [batch[0].begun_s for batch in row]
        forwards = [forward_s(batch) for batch in row]
        one_chunk = max(sum(each.new_tokens for each in batch) for batch in row) <= ONE_CHUNK_TOKENS
        if not one_chunk or begun[1] - begun[0] > 0.7 * forwards[0]:
            continue
        late_s = begun[2] - begun[0] - forwards[0] - forwards[1]
        if late_s < LARGEST_GAP_S:
            second.append((len(row[0]), late_s))
            if begun[3] - begun[2] - forwards[2] < LARGEST_GAP_S:
                third.append((len(row[1]), begun[3] - begun[2] - forwards[2]))
    for name, found in (("third batch of a row", second), ("fourth", third)):
        table = np.array(found)
        a, b = least_absolute(np.column_stack([np.ones(len(table)), table[:, 0]]), table[:, 1])
        print(f"{name}: formed {MS * a:.1f} ms + {MS * b:.1f} ms a request late ({len(table)} rows)")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else RUN
    name = sys.argv[2] if len(sys.argv) > 2 else PROFILE
    requests = read(folder / LOG)
    sends(requests)
    gaps(requests, compose.central(profile.load(library.find("profile", name))).prefill)


if __name__ == "__main__":
    main()
