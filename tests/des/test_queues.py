"""Limits with closed forms: a P that serves one request a forward is an M/G/1 queue.

Lengths above the largest captured graph size have no staircase, so with a floor of 0 the service is proportional to the
length: constant lengths give M/D/1, exponential ones M/M/1. Waits of neighbours depend on each other, so the standard
error of their mean comes from the means of long batches; three of them are allowed, with a fixed seed.
"""

from __future__ import annotations

import numpy as np
import pytest
from des.costs import cost_model, fleet, talk

from ppdsim.analytical.queueing import mg1_wait_s
from ppdsim.des.cluster import run_cluster
from ppdsim.routing import AlwaysP

TOKEN_S = 1e-7
TURNS = 40_000
BATCHES = 20
STANDARD_ERRORS = 3.0
MODEL = cost_model(
    prefill={"floor_s": 0.0, "token_s": TOKEN_S, "attention_s_per_token2": 0.0, "kv_read_s_per_token": 0.0},
    decode={"floor_s": 1e-9, "row_s": 0.0, "context_s_per_token": 0.0, "start_s": 0.0},
    stall={"launch_s": 0.0},
    frontend={"in_s": 0.0, "in_s_per_token": 0.0, "out_s": 0.0},
    link={"handshake_s": 0.0, "prefix_s": 0.0, "wire_s_per_token": 0.0, "fresh_wire_s_per_token": 0.0, "join_s": 0.0},
    chunk=2**30,
    page=1,
)
MEAN_TOKENS = 1_000_000


def assert_mean_wait(lengths: np.ndarray, load: float, rng: np.random.Generator, expected_s: float) -> None:
    service_s = TOKEN_S * MEAN_TOKENS
    arrivals = np.cumsum(rng.exponential(service_s / load, len(lengths)))
    # max_prefill_tokens 1: whoever starts a forward is alone in it.
    spec = fleet(
        "P D", MODEL, pool=2**45, max_prefill_tokens=1, num_reserved_decode_tokens=0, max_running_requests=10**6
    )
    talks = [talk(i, time, (length, 1)) for i, (time, length) in enumerate(zip(arrivals, lengths, strict=True))]
    waits_s = run_cluster(spec, talks, AlwaysP()).turns["queue_s"]
    batches_s = np.array([part.mean() for part in np.array_split(waits_s, BATCHES)])
    error_s = float(batches_s.std(ddof=1)) / BATCHES**0.5
    # The test says something only if its tolerance is small.
    assert STANDARD_ERRORS * error_s < 0.15 * expected_s
    assert abs(float(waits_s.mean()) - expected_s) < STANDARD_ERRORS * error_s


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_constant_lengths_wait_as_m_d_1(load):
    rng = np.random.default_rng(1)
    service_s = TOKEN_S * MEAN_TOKENS
    expected = mg1_wait_s(load / service_s, service_s).item()
    assert expected == pytest.approx(load / (2 * (1 - load)) * service_s)
    assert_mean_wait(np.full(TURNS, MEAN_TOKENS), load, rng, expected)


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_exponential_lengths_wait_as_m_m_1(load):
    rng = np.random.default_rng(2)
    lengths = np.maximum(rng.exponential(MEAN_TOKENS, TURNS).round().astype(int), 1)
    expected = load / (1 - load) * TOKEN_S * MEAN_TOKENS
    assert_mean_wait(lengths, load, rng, expected)
