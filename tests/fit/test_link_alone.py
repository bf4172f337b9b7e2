"""Transfers of the link alone are evidence beside the hand-offs: they change no curve, no draw and no held-out cell."""

from __future__ import annotations

import json

import pytest
from fit.grids import TRUTH, rows, write

from ppdsim import measurements
from ppdsim.fit.link_alone import link_notes
from ppdsim.fit.run import fit_profile
from ppdsim.measurements import TransferRow
from ppdsim.transport.wire import WireCurve
from ppdsim.types import Transport

WIRE = WireCurve(call_s=2e-4, block_s=3e-5, byte_s=7e-10)
GRID = [(size, blocks) for size in (2**20, 2**24, 2**27) for blocks in (1, 64)]


def transfers(grid=GRID, **changes) -> list[TransferRow]:
    return [
        TransferRow(
            transport=Transport.TCP,
            size_bytes=size,
            blocks=blocks,
            repeat=repeat,
            elapsed_s=0.0,
            transfer_s=float(WIRE.seconds(size, blocks)),
            cell=f"fit/transfer/tcp/{size}/{blocks}/host",
            **changes,
        )
        for size, blocks in grid
        for repeat in range(2)
    ]


def test_a_run_with_transfers_fits_to_the_same_profile_and_one_more_note(tmp_path):
    records = rows(TRUTH)
    alone = [json.loads(row.model_dump_json()) for row in transfers()]
    without = fit_profile(measurements.read(write(tmp_path / "without", records)), draws=3)
    with_them = fit_profile(measurements.read(write(tmp_path / "with", [*records, *alone])), draws=3)
    assert with_them.curves == without.curves
    assert with_them.drift == without.drift
    assert with_them.fitted_cells == without.fitted_cells
    (note,) = set(with_them.notes) - set(without.notes)
    assert note.startswith("the link alone over tcp, host memory (6 cells")


def test_the_note_sets_a_token_alone_beside_a_token_handed_off():
    (note,) = link_notes(transfers(), TRUTH)
    assert f"take {7e-10 * TRUTH.kv_bytes_per_token * 1e6:.3g} us, each block 30 us" in note
    for arm in ("p-full:tcp", "p-delta:tcp"):
        assert f"us in {arm}" in note
    assert "nvlink" not in note


@pytest.mark.parametrize(
    "found",
    [[], transfers(GRID[:3]), transfers(outlier=True), transfers(purpose="validation")],
    ids=["none", "few", "outliers", "held out"],
)
def test_too_little_says_nothing(found):
    assert link_notes(found, TRUTH) == ()


def test_each_memory_has_a_sentence_of_its_own():
    notes = link_notes([*transfers(), *transfers(memory="gpu")], TRUTH)
    assert [note.split(" (")[0] for note in notes] == [
        "the link alone over tcp, gpu memory",
        "the link alone over tcp, host memory",
    ]
