"""Bad input, broken servers and kills, counted: ``python benchmarks/robustness.py [--quick]``.

At least 400 bad inputs (every kind of file by every mutation, and more by hand), the faults of a server, and 40 kills.
It prints one line for each that is wrong and the counts; exit code 1 if any is. The whole takes 10 to 15 minutes on two
cores, ``--quick`` a seeded sample in half a minute.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests")]
# A process is forked for each input: threads of a library would not come along.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from measure.fault_server import FaultyServer, command  # noqa: E402
from measure.faults import FAULTS  # noqa: E402
from robust import kills  # noqa: E402
from robust.inputs import Case, all_cases, valid_cases  # noqa: E402
from robust.one import Outcome, forked, preload, run_case  # noqa: E402

MOST_MIB = 500.0
"""Memory that no input may take [MiB]."""
MOST_CPU_S = 1.0
"""CPU time of a refusal [s]."""
MORE_MIB = 150.0
"""Memory of a refusal beyond what the leanest one takes [MiB]."""
KILLS_OF_EACH = 8
AT_ONCE_FAULTS = 8
"""Faults that are played at once: they wait for time to pass."""
WRONG = ("traceback", "over a minute", "over 500 MB", "partial output", "wrongly accepted")
"""What is counted by its name; everything else that is wrong is 'other'."""
T = TypeVar("T")


@cache
def _cases() -> list[Case]:
    preload()
    return [*valid_cases(), *all_cases()]


def play_input(number: int) -> Outcome:
    """Run one case of the table."""
    return run_case(_cases()[number])


def play_fault(number: int) -> Outcome:
    """Run a calibration against a server with one fault."""
    preload()
    fault = FAULTS[number]
    with tempfile.TemporaryDirectory() as place, FaultyServer(fault) as server:
        folder = Path(place)
        begin_s = time.monotonic()
        code, cpu_s, rss_mib, out, err = forked(command(server.url, folder), folder)
        took_s = time.monotonic() - begin_s
    wrong = ""
    if "Traceback" in out + err:
        wrong = "traceback"
    elif code != fault.exit_code:
        wrong = "over a minute" if code == 112 else f"exit code {code}, expected {fault.exit_code}"
    elif not re.search(fault.said, err):
        wrong = "not named"
    said = f"{took_s:.0f} s: {(err.strip().splitlines() or [''])[-1][:200]}"
    return Outcome(name=f"fault: {fault.name}", code=code, cpu_s=cpu_s, rss_mib=rss_mib, said=said, wrong=wrong)


def play_kill(job: tuple[str, int, kills.Reference, int]) -> kills.Kill:
    """Kill a command once."""
    return kills.kill(*job)


def _pool(function: Callable[[Any], T], jobs: Sequence[Any], at_once: int) -> Iterable[T]:
    with ProcessPoolExecutor(at_once, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(function, jobs)


def inputs(sample: int | None, seed: int, at_once: int) -> Counter[str]:
    """Play the table of bad inputs, or a sample of it, and print what is wrong."""
    total = len(_cases())
    valid = len(valid_cases())
    numbers = list(range(total))
    if sample is not None:
        numbers = random.Random(seed).sample(range(valid, total), sample)  # noqa: S311  (a sample, not a secret)
    found = list(_pool(play_input, numbers, at_once))
    leanest_mib = min(one.rss_mib for one in found if one.code == 2)
    counts: Counter[str] = Counter()
    for number, one in zip(numbers, found, strict=True):
        wrong = one.wrong
        if number < valid:
            wrong = "" if one.code == 0 else f"the valid file is refused with {one.code}"
        elif not wrong and one.rss_mib > MOST_MIB:
            wrong = "over 500 MB"
        elif not wrong and one.code == 2 and one.cpu_s > MOST_CPU_S and sample is None:
            # A sample is a test, and tests measure no time.
            wrong = f"refused in {one.cpu_s:.1f} CPU s"
        elif not wrong and one.code == 2 and one.rss_mib > leanest_mib + MORE_MIB:
            wrong = f"refused with {one.rss_mib - leanest_mib:.0f} MiB more than the leanest"
        _count(counts, one.name, wrong, one.said)
        if number >= valid:
            counts["tried"] += 1
            counts["clear errors"] += one.code in (2, 3) and not wrong
            counts["harmless"] += one.code == 0 and not wrong
    counts["slowest refusal [ms CPU]"] = round(max(one.cpu_s for one in found if one.code == 2) * 1000)
    counts["largest [MiB]"] = round(max(one.rss_mib for one in found))
    return counts


def faults(sample: int | None, seed: int) -> Counter[str]:
    """Play the faults of a server, or some of those that no time has to pass for."""
    numbers = list(range(len(FAULTS)))
    if sample is not None:
        quick = [number for number in numbers if not FAULTS[number].hangs]
        numbers = random.Random(seed).sample(quick, sample)  # noqa: S311  (a sample, not a secret)
    counts: Counter[str] = Counter()
    for one in _pool(play_fault, numbers, AT_ONCE_FAULTS if sample is None else 1):
        wrong = one.wrong or ("over 500 MB" if one.rss_mib > MOST_MIB else "")
        _count(counts, one.name, wrong, one.said)
        counts["tried"] += 1
        counts["named"] += not wrong
    return counts


def killed(names: Sequence[str], each: int, seed: int, at_once: int) -> Counter[str]:
    """Kill commands, and print what is wrong after it."""
    expected = {name: kills.reference(name) for name in names}
    jobs = [(name, number, expected[name], seed) for number in range(each) for name in names]
    counts: Counter[str] = Counter()
    for one in _pool(play_kill, jobs, at_once):
        _count(counts, f"kill: {one.name}", one.wrong, one.said)
        counts["tried"] += 1
        counts["right"] += not one.wrong
    return counts


def _count(counts: Counter[str], name: str, wrong: str, said: str) -> None:
    if wrong:
        counts[wrong if wrong in WRONG else "other"] += 1
        print(f"WRONG {name}: {wrong} | {said}", flush=True)


def _line(what: str, counts: Counter[str]) -> str:
    always = {name: counts[name] for name in (*WRONG, "other")}
    rest = {name: count for name, count in counts.items() if name not in always}
    return f"{what}: " + ", ".join(f"{count} {name}" for name, count in {**rest, **always}.items())


def main() -> int:
    """Play everything, print the counts, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="40 inputs, 5 faults and 3 kills")
    parser.add_argument("--seed", type=int, default=20261130)
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--only", choices=("inputs", "faults", "kills"))
    given = parser.parse_args()
    quick, seed = given.quick, given.seed
    parts: dict[str, Callable[[], Counter[str]]] = {
        "inputs": lambda: inputs(40 if quick else None, seed, given.jobs),
        "faults": lambda: faults(5 if quick else None, seed),
        "kills": lambda: (
            killed(["simulate"], 3, seed, 1) if quick else killed(list(kills.COMMANDS), KILLS_OF_EACH, seed, given.jobs)
        ),
    }
    begin_s = time.monotonic()
    found = {name: play() for name, play in parts.items() if given.only in (None, name)}
    for name, counts in found.items():
        print(_line(name, counts))
    print(f"{time.monotonic() - begin_s:.0f} s, seed {seed}")
    return int(any(counts[name] for counts in found.values() for name in (*WRONG, "other")))


if __name__ == "__main__":
    sys.exit(main())
