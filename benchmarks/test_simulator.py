"""Turns of one pair, and their results. Run: pytest benchmarks. The table: python benchmarks/simulator.py."""

from __future__ import annotations

import numpy as np
import pytest

from ppdsim.des.cluster import run_cluster
from ppdsim.routing import AlwaysP
from ppdsim.scenario import load
from ppdsim.setup import resolve


@pytest.mark.parametrize("per_step", [False, True])
def test_pair(benchmark, per_step: bool) -> None:
    scenario = load("one-pair", ["workload.conversations=200", f"per_step={per_step}".lower()])
    spec = resolve(scenario).cluster(seed=0)
    conversations = list(scenario.build_workload().conversations(np.random.default_rng(0)))
    benchmark(lambda: run_cluster(spec, conversations, AlwaysP()).summary())
