"""Variance between blocks is found when it is there, and not invented when it is not."""

from __future__ import annotations

import numpy as np
import pytest

from ppdsim.fit.drift import FEWEST_BLOCKS, between_blocks


def points(rng, *, between, within, blocks=40, size=6):
    offsets = rng.normal(0.0, between, blocks)
    return [
        (block, offset + noise, 10.0 * block)
        for block, offset in enumerate(offsets)
        for noise in rng.normal(0.0, within, size)
    ]


@pytest.mark.parametrize("between", [0.0, 0.02, 0.1])
def test_it_recovers_both_variances(between):
    rng = np.random.default_rng(0)
    found = [between_blocks(points(rng, between=between, within=0.01)) for _ in range(30)]
    assert np.mean([f.sigma for f in found]) == pytest.approx(between, abs=0.004)
    assert np.mean([f.noise for f in found]) == pytest.approx(0.01, rel=0.05)


def test_it_says_when_the_machine_was_slowest():
    found = between_blocks([(b, 0.3 if b == 4 else -0.2 if b == 7 else 0.0, 10.0 * b) for b in range(9) for _ in "ab"])
    assert (found.slowest_s, found.fastest_s, found.blocks) == (40.0, 70.0, 9)


def test_too_few_blocks_say_nothing():
    rng = np.random.default_rng(0)
    assert between_blocks(points(rng, between=0.1, within=0.01, blocks=FEWEST_BLOCKS - 1)) is None
    assert between_blocks(points(rng, between=0.1, within=0.01, size=1)) is None


def test_drift_is_called_so_only_where_blocks_can_be_told_apart():
    rng = np.random.default_rng(1)
    calm = [between_blocks(points(rng, between=0.0, within=0.02)).drifted for _ in range(200)]
    assert sum(calm) <= 8
    assert all(between_blocks(points(rng, between=0.03, within=0.01)).drifted for _ in range(50))
    # A difference without noise that changes no answer is none.
    assert not between_blocks([(block, 1e-9 * block, 0.0) for block in range(9) for _ in "ab"]).drifted
