"""Turns a second and events a turn of the simulator, in closed form and step by step (docs/design/simulator.md).

    python benchmarks/simulator.py

One P and one pD of the shipped profile over NVLink, multi-turn chat at two rates of conversations. Times are CPU
seconds of this machine; compare the ratios.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from ppdsim.des.cluster import Cluster
from ppdsim.des.recorder import Labels, to_results
from ppdsim.des.run import resolve
from ppdsim.des.turns import Turns
from ppdsim.routing import AlwaysP
from ppdsim.scenario import load

RATES_PER_S = (0.5, 1.5)
CONVERSATIONS = 1000


def main() -> None:
    print(f"{'rate':>6} {'mode':<12} {'turns':>7} {'turns/s':>9} {'events/turn':>12} {'results':>9}")
    for rate in RATES_PER_S:
        settings = [f"workload.conversations={CONVERSATIONS}", f"workload.arrivals.rate_per_s={rate}"]
        scenario = load("one-pair", settings)
        spec, _ = resolve(scenario)
        conversations = list(scenario.build_workload().conversations(np.random.default_rng(0)))
        for mode in ("closed form", "per step"):
            cluster = Cluster(replace(spec, per_step=mode == "per step"), Turns(conversations), AlwaysP())
            start = time.process_time()
            cluster.run()
            ran = time.process_time()
            to_results(cluster.spec, cluster.turns, cluster.decode, Labels())
            done = time.process_time()
            turns = cluster.turns.count
            print(
                f"{rate:>6g} {mode:<12} {turns:>7} {turns / (ran - start):>9.0f} {cluster.clock.events / turns:>12.1f}"
                f" {turns / (done - ran):>9.0f}"
            )


if __name__ == "__main__":
    main()
