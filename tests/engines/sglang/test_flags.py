"""What a profile records of the rules that the servers of its run were started with."""

from __future__ import annotations

import pytest

from ppdsim import measurements
from ppdsim.engine_record import ChunkRule
from ppdsim.engines import ENGINES
from ppdsim.errors import MeasurementError
from ppdsim.fit.run import engine_of

RECORD = ENGINES["sglang"].record


@pytest.fixture(scope="module")
def manifest(repository):
    return measurements.read(repository / "calibration/measurements/h200x1_llama-3.1-8b_sglang-0.5.17").manifest


@pytest.mark.parametrize(
    ("flags", "overlaps", "rule"),
    [
        ([], True, ChunkRule.SEPARATE_FORWARDS),
        (["disable_overlap_schedule=False", "enable_mixed_chunk=False"], True, ChunkRule.SEPARATE_FORWARDS),
        (["disable_overlap_schedule=True"], False, ChunkRule.SEPARATE_FORWARDS),
        (["--disable-overlap-schedule"], False, ChunkRule.SEPARATE_FORWARDS),
        (["--enable-mixed-chunk (unified server)"], True, ChunkRule.MIXED_STEPS),
    ],
)
def test_a_run_records_the_rules_of_its_servers(manifest, flags, overlaps, rule):
    found = engine_of(manifest.model_copy(update={"server_flags": tuple(flags)}))
    assert (found.overlap_schedule, found.chunk_rule) == (overlaps, rule)
    assert (found.name, found.version) == ("sglang", "0.5.17")


def test_servers_that_follow_different_rules_have_no_record(manifest):
    mixed = manifest.model_copy(update={"role_flags": {"unified": ("disable_overlap_schedule=True",)}})
    assert "disable_overlap_schedule=False" in mixed.server_flags
    with pytest.raises(MeasurementError, match="disable_overlap_schedule is on in some servers of the run and off in"):
        engine_of(mixed)


def test_a_run_without_these_flags_records_what_the_release_does(manifest):
    assert engine_of(manifest) == RECORD("0.5.17")
