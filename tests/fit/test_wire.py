"""The link's curve: recovered from transfers that follow it, and outliers kept out."""

from __future__ import annotations

import numpy as np
import pytest

from ppdsim.errors import MeasurementError
from ppdsim.fit import wire
from ppdsim.fit.wire import fit_wire
from ppdsim.measurements import TransferRow
from ppdsim.transport.wire import WireCurve
from ppdsim.types import Transport

TRUE = WireCurve(call_s=2e-4, block_s=3e-5, byte_s=7e-10)


def rows(noise: float = 0.0, **changes) -> list[TransferRow]:
    rng = np.random.default_rng(0)
    return [
        TransferRow(
            transport=Transport.TCP,
            size_bytes=size,
            blocks=blocks,
            repeat=repeat,
            elapsed_s=0.0,
            transfer_s=float(TRUE.seconds(size, blocks)) * float(np.exp(noise * rng.standard_normal())),
            **changes,
        )
        for size in (2**16, 2**20, 2**24, 2**28)
        for blocks in (1, 64, 512)
        for repeat in range(3)
    ]


@pytest.fixture(scope="module")
def found():
    return fit_wire(rows())


def test_it_recovers_the_curve(found):
    for name, value in TRUE.parameter_values().items():
        assert found.curve.parameter_values()[name] == pytest.approx(value, rel=0.02)
    assert found.left_out_p90 < 0.02
    assert found.cells == 12


def test_its_intervals_hold_the_truth_under_noise():
    found = fit_wire(rows(noise=0.05))
    for name, value in TRUE.parameter_values().items():
        low, high = found.interval(name)
        assert low * 0.9 <= value <= high * 1.1


def test_an_outlier_is_not_fitted(found):
    spoilt = [*rows(), *(row.model_copy(update={"transfer_s": 10.0, "outlier": True}) for row in rows())]
    assert fit_wire(spoilt).curve == found.curve


def test_too_few_cells_are_refused():
    with pytest.raises(MeasurementError, match="2 transfer cells, expected at least 4"):
        fit_wire([row for row in rows() if row.size_bytes == 2**20 and row.blocks > 1])


def test_a_left_out_cell_is_predicted_from_all_others(monkeypatch):
    seen = []

    def spy(size, blocks, seconds):
        seen.append(set(zip(size.tolist(), blocks.tolist(), strict=True)))
        return TRUE

    monkeypatch.setattr(wire, "_fit", spy)
    fit_wire(rows())
    every = {(float(row.size_bytes), float(row.blocks)) for row in rows()}
    left_out = [every - fitted for fitted in seen[: len(every)]]
    assert [len(cells) for cells in left_out] == [1] * len(every)
    assert set.union(*left_out) == every
