"""Speed of reading a trace and of drawing conversations. Run: pytest benchmarks."""

from __future__ import annotations

import numpy as np
import pytest

from ppdsim import scenario


@pytest.mark.parametrize("name", ["mooncake-conversation", "one-pair"])
def test_conversations(benchmark, name: str) -> None:
    workload = scenario.load(name).build_workload()
    benchmark(lambda: list(workload.conversations(np.random.default_rng(0))))
