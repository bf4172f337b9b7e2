"""Limits with closed forms: a P that serves one request a forward is an M/G/1 queue.

Lengths above the largest captured graph size have no staircase, so with a floor of 0 the service is proportional to the
length: constant lengths give M/D/1, exponential ones M/M/1.
"""

from __future__ import annotations

import numpy as np
import pytest
from des.costs import cost_model, fleet, talk

from ppdsim.analytical.queueing import mg1_wait_s
from ppdsim.des.cluster import run_cluster
from ppdsim.routing import AlwaysP

TOKEN_S = 1e-7
TURNS = 20_000
MODEL = cost_model(
    prefill={"floor_s": 0.0, "token_s": TOKEN_S, "attention_s_per_token2": 0.0, "kv_read_s_per_token": 0.0},
    decode={"floor_s": 1e-9, "row_s": 0.0, "context_s_per_token": 0.0, "disaggregated_s": 0.0},
    stall={"launch_s": 0.0},
    frontend={"in_s": 0.0, "in_s_per_token": 0.0, "out_s": 0.0},
    link={"handshake_s": 0.0, "prefix_s": 0.0, "wire_s_per_token": 0.0, "fresh_wire_s_per_token": 0.0, "join_s": 0.0},
    chunk=2**30,
    page=1,
)
MEAN_TOKENS = 1_000_000


def mean_wait_s(lengths: np.ndarray, load: float, rng: np.random.Generator) -> float:
    service_s = TOKEN_S * MEAN_TOKENS
    arrivals = np.cumsum(rng.exponential(service_s / load, len(lengths)))
    # max_prefill_tokens 1: whoever starts a forward is alone in it.
    spec = fleet(
        "P D", MODEL, pool=2**45, max_prefill_tokens=1, num_reserved_decode_tokens=0, max_running_requests=10**6
    )
    talks = [talk(i, time, (length, 1)) for i, (time, length) in enumerate(zip(arrivals, lengths, strict=True))]
    return float(np.mean(run_cluster(spec, talks, AlwaysP()).turns["queue_s"]))


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_constant_lengths_wait_as_m_d_1(load):
    rng = np.random.default_rng(1)
    service_s = TOKEN_S * MEAN_TOKENS
    expected = mg1_wait_s(load / service_s, service_s).item()
    assert expected == pytest.approx(load / (2 * (1 - load)) * service_s)
    assert mean_wait_s(np.full(TURNS, MEAN_TOKENS), load, rng) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_exponential_lengths_wait_as_m_m_1(load):
    rng = np.random.default_rng(2)
    lengths = np.maximum(rng.exponential(MEAN_TOKENS, TURNS).round().astype(int), 1)
    expected = load / (1 - load) * TOKEN_S * MEAN_TOKENS
    assert mean_wait_s(lengths, load, rng) == pytest.approx(expected, rel=0.08)
