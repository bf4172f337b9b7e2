"""Measured level lines: the noise of each pair's cells is drawn on its own."""

from __future__ import annotations

import itertools

import numpy as np
from fit.grids import TRUTH, rows, write

from ppdsim import measurements
from ppdsim.fit.run import fit_profile
from ppdsim.validate import crossings
from ppdsim.validate.crossings import crossing_checks
from ppdsim.validate.decisions import BATCHES
from ppdsim.validate.unseen import unseen


def test_the_noise_of_every_pair_is_drawn_on_its_own(tmp_path, monkeypatch):
    measured = measurements.read(write(tmp_path / "m", rows(TRUTH, noise=0.01, repeats=3)))
    profile = fit_profile(measured, draws=4)
    found, measure = [], crossings._Gains.measure

    def without_streams(append, handoff, stalls, streams, rng):
        assert streams in BATCHES
        # Without streams the noise of the two cells is all that is drawn.
        gains = measure(append, handoff, stalls, 0, rng)
        found.append(gains.draws[1:, 0])
        return gains

    monkeypatch.setattr(crossings._Gains, "measure", staticmethod(without_streams))
    crossing_checks(profile, measured, unseen(profile, measured))
    assert len(found) >= 2 * len(BATCHES)
    for one, other in itertools.combinations(found, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.35  # five sigma of 200 independent draws
