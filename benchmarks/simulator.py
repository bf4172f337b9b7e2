"""Speed and scale of the simulator: one table (docs/design/speed.md has it, with the machine it was made on).

    python benchmarks/simulator.py                   all of it, some five minutes
    python benchmarks/simulator.py --quick           nothing above 100,000 turns, a minute
    python benchmarks/simulator.py --trace PATH      also the Mooncake conversation trace (12,031 requests)

Every line of a run is a process of its own; times are CPU seconds, the best of `--repeat` runs. Those of a sweep are by
the clock on the wall (`sweep_scaling.py`). Compare within one table.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from ppdsim.des.accounts import activity_of
from ppdsim.des.cluster import Cluster
from ppdsim.des.recorder import Labels, to_results
from ppdsim.des.turns import Turns
from ppdsim.routing import AlwaysP, CostAware, DecisionLog
from ppdsim.scenario import Scenario, load
from ppdsim.setup import resolve
from ppdsim.simulation.run import simulate

RATE_PER_S = 1.35
"""Conversations a second and pair at which the busiest part of the pair works 60 % of the time; printed."""
CHAT = ("workload.output_tokens={kind: lognormal, median_tokens: 117, sigma: 0.6, max_tokens: 2048}",)
"""Answers of 140 tokens on average; the rest of the chat is the scenario one-pair."""
FEATURES = (
    "disaggregation_decode_enable_radix_cache=true",
    "fleet.0.nic=a",
    "routing.prefill_policy=cache_aware",
    "routing.decode_policy=manual",
    "routing.frontend_max_conversations=100000",
)
TURNS_A_CONVERSATION = 5
PAIR_TURNS = 10_000
"""Turns of a pair."""
FLEET_TURNS = 100_000
"""Turns of a fleet: 800 of each of 128 pairs, so that the larger ones are as busy as the smaller."""
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a run took: CPU seconds of the run and of its results, events, memory, and how busy its busiest part was."""

    turns: int
    run_s: float
    results_s: float
    events: int
    peak_bytes: int
    busy: float

    def __str__(self) -> str:
        total_s = self.run_s + self.results_s
        return (
            f"{self.turns:>9,}{self.turns / total_s:>10,.0f}{total_s / self.turns * 1e6:>9.1f}"
            f"{self.events / self.turns:>9.2f}{self.peak_bytes / MEGABYTE:>8.0f}{self.busy:>7.0%}"
        )


def chat(turns: int, *, pairs: int = 1, role: str = "D", settings: Sequence[str] = ()) -> Scenario:
    """Return multi-turn chat on pairs of one P and one decode node."""
    return load(
        "one-pair",
        [
            f"workload.conversations={turns // TURNS_A_CONVERSATION}",
            f"workload.arrivals.rate_per_s={RATE_PER_S * pairs}",
            f"fleet.0.count={pairs}",
            f"fleet.1.count={pairs}",
            f"fleet.1.role={role}",
            *CHAT,
            *settings,
        ],
    )


def run(scenario: Scenario, *, per_step: bool = False, everything: bool = False) -> Line:
    """Simulate a scenario; `everything` logs each decision of the cost-aware policy."""
    spec = resolve(scenario).cluster(seed=0)
    spec = replace(spec, per_step=per_step)
    turns = Turns(scenario.build_workload().conversations(np.random.default_rng(0)))
    fleet = spec.fleet_model
    policy = CostAware(fleet=fleet) if everything else AlwaysP()
    log = DecisionLog(fleet, 1.0) if everything else None
    cluster = Cluster(spec, turns, policy, log)
    start = time.process_time()
    cluster.run()
    ran = time.process_time()
    labels = Labels(decisions=None if log is None else log.columns)
    results = to_results(spec, turns, cluster.decode, cluster.gaps, activity_of(cluster), labels)
    results.summary()
    done = time.process_time()
    columns = results.turns
    nodes = sum(node.role.value == "P" for node in spec.nodes) * float(np.nanmax(columns["t_last_token_s"]))
    return Line(
        turns=turns.count,
        run_s=ran - start,
        results_s=done - ran,
        events=cluster.clock.events,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        busy=max(float(np.nansum(columns[name])) for name in ("prefill_s", "kv_transfer_s")) / nodes,
    )


def pair(turns: int, repeat: int) -> Line:
    """Return the best run of one pair."""
    return best(lambda: run(chat(turns)), repeat)


def oracle(turns: int, repeat: int) -> Line:
    """Return the best run of one pair with one event an engine step."""
    return best(lambda: run(chat(turns), per_step=True), repeat)


def features(turns: int, repeat: int) -> Line:
    """Return the best run of two pairs with the policy log and every mechanism that is off by default."""
    return best(lambda: run(chat(turns, pairs=2, role="pD", settings=FEATURES), everything=True), repeat)


def fleet(turns: int, repeat: int, nodes: int, *, sticky: bool) -> Line:
    """Return the best run of a larger fleet at the same load a node."""
    how = ("disaggregation_decode_enable_radix_cache=true",) if sticky else ("routing.sticky_sessions=false",)
    return best(lambda: run(chat(turns, pairs=nodes // 2, settings=how)), repeat)


def best(measure: Callable[[], Line], repeat: int) -> Line:
    """Return the quickest of several runs."""
    return min((measure() for _ in range(repeat)), key=lambda line: line.run_s + line.results_s)


def trace(path: Path, repeat: int) -> tuple[int, float, float]:
    """Return the requests of a Mooncake trace, and the CPU time of reading and of simulating it on 4P_4D [s]."""
    scenario = load("mooncake-conversation", [f"workload.file={path}"])
    times = []
    for _ in range(repeat):
        start = time.process_time()
        requests = sum(1 for _ in scenario.build_workload().conversations(np.random.default_rng(0)))
        read = time.process_time()
        results = simulate(scenario, seed=0)
        times.append((read - start, time.process_time() - read))
    print(f"   {results.summary()['label']}, TTFT p50 {results.summary()['ttft_s']['p50']:.3f} s", flush=True)
    return requests, *min(times, key=sum)


def command_s(path: Path) -> float:
    """Return the CPU time of one run of ``ppdsim simulate`` on a trace, imports and files included [s]."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as out:
        one = ("--set", "alternatives=[]")
        words = ["simulate", "mooncake-conversation", *one, "--trace", str(path), "-o", out, "-q"]
        subprocess.run([sys.executable, "-m", "ppdsim", *words], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def alone(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a function in a fresh process: nothing is warm, and its peak memory is its own."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **named).result()


def lines(repeat: int, *, quick: bool) -> Iterator[tuple[str, Line]]:
    """Measure line by line."""
    turns, fleet_turns = PAIR_TURNS, FLEET_TURNS // 5 if quick else FLEET_TURNS
    yield "pair, 60 % load", alone(pair, turns, repeat)
    yield "  one event a step", alone(oracle, turns // 5, repeat)
    yield "  all columns, log, features", alone(features, turns, repeat)
    for nodes in (2, 16, 64, 256):
        yield f"{nodes} nodes, sticky", alone(fleet, fleet_turns, min(repeat, 2), nodes, sticky=True)
        yield f"{nodes} nodes, least loaded", alone(fleet, fleet_turns, min(repeat, 2), nodes, sticky=False)
    for power in (3, 4, 5) if quick else (3, 4, 5, 6):
        yield f"pair, 10^{power} turns", alone(pair, 10**power, 1 if power > 4 else repeat)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="nothing above 100,000 turns")
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the best counts")
    # The scenario takes a relative path for one beside itself.
    parser.add_argument("--trace", type=lambda text: Path(text).resolve(), help="Mooncake conversation_trace.jsonl.gz")
    asked = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}\n")
    print(f"{'':30}{'turns':>9}{'turns/s':>10}{'us/turn':>9}{'ev/turn':>9}{'MB':>8}{'busy':>7}")
    for name, line in lines(asked.repeat, quick=asked.quick):
        print(f"{name:30}{line}", flush=True)
    if asked.trace is None:
        print("\ntrace: not measured, because no --trace was given")
    elif not asked.trace.exists():
        print(f"\ntrace: not measured, because {asked.trace} is not there")
    else:
        print(f"\ntrace {asked.trace.name} on 4P_4D:")
        requests, read_s, run_s = alone(trace, asked.trace, asked.repeat)
        whole_s = min(command_s(asked.trace) for _ in range(asked.repeat))
        print(f"   {requests:,} requests: reading {read_s:.2f} s, reading and simulating {run_s:.2f} s of CPU,")
        print(f"   the whole command with its imports and files {whole_s:.2f} s of CPU")
    # Here, as the processes of the lines above import this file, and their memory is measured.
    import sweep_scaling

    print()
    sweep_scaling.show(*sweep_scaling.measure(seeds=2 if asked.quick else 8, rounds=1 if asked.quick else 2))


if __name__ == "__main__":
    main()
