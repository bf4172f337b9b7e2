"""The constants that widen derived profiles are those that the published tables give, and the docs show the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import transfer_errors
from transfer import checks, tables
from transfer.check import Check
from transfer.checks import all_reduce_check
from transfer.whole import whole_checks

from ppdsim import profile
from ppdsim.compose import UNMEASURED_SIGMA
from ppdsim.derive import errors
from ppdsim.derive.derive import Change, derive
from ppdsim.derive.machine import machine_of
from ppdsim.machine import hardware


@pytest.fixture(scope="module")
def folder(repository):
    return repository / "calibration/published"


@pytest.fixture(scope="module")
def computed(folder):
    return transfer_errors.compute(folder)


def test_the_shipped_constants_are_the_computed_ones(computed, repository):
    assert errors.load() == computed
    assert (repository / "calibration/transfer.json").read_text() == transfer_errors.to_json(computed)


def test_the_table_in_the_docs_is_the_one_that_the_benchmark_prints(computed, folder, repository):
    page = (repository / "docs/explanation/derive.md").read_text()
    measured = profile.load(repository / "calibration/profiles" / f"{transfer_errors.MEASURED}.json")
    beside = [all_reduce_check(folder, computed.reached), *whole_checks(measured, folder, computed)]
    for check in [*checks.all_checks(folder), *beside]:
        assert transfer_errors.line(check) in page


def test_the_ring_is_nearly_right_where_messages_are_long(folder, computed):
    """At 64 MiB, the partial sums of a whole chunk of an 8B model; short messages have a fixed part that it lacks."""
    check = all_reduce_check(folder, computed.reached)
    gpus, size, _ = tables.all_reduces(folder)
    error = np.expm1(check.log_error)
    assert np.max(np.abs(error[size == size.max()])) < 0.21
    assert np.all(np.diff([np.median(error[size == each]) for each in np.unique(size)]) > 0)
    assert sorted(set(gpus)) == [2, 4, 8]


def test_the_width_over_several_gpus_holds_the_error_of_the_all_reduces(repository, folder, computed):
    """It is a part of a token's seconds: what it is off by, as a share of the whole, is within the stated interval."""
    measured = profile.load(repository / f"calibration/profiles/{transfer_errors.MEASURED}.json")
    off = float(np.quantile(np.abs(np.expm1(all_reduce_check(folder, computed.reached).log_error)), 0.9))
    source = machine_of(measured, hardware.find_gpu(measured.gpu))
    for tp in (2, 4, 8):
        there = derive(measured, Change(tp=tp), computed, name="tp")
        (token,) = (p for p in there.curve("prefill").parameters if p.name == "token_s")
        link = source.gpu.peer.bandwidth_bytes_per_s * computed.reached.link_share
        reduced = replace(source, tp=tp).all_reduce_bytes_per_token / link
        assert reduced < token.value
        assert reduced * off < token.high - token.value


def test_the_targets_are_reached_for_kernels(folder):
    for check in checks.all_checks(folder):
        target = {"model": 0.10, "gpu": 0.15}.get(check.transfer)
        if target is not None and check.quantity != "row":
            assert np.median(np.abs(np.expm1(check.log_error))) < target, check.what


def test_a_sigma_holds_nine_in_ten_rows_of_the_worst_table(folder, computed):
    for check in checks.all_checks(folder):
        half = 1.6449 * computed.sigma[check.transfer][check.quantity]
        assert np.mean(np.abs(check.log_error) <= half * 1.001) >= 0.9


def test_what_no_table_shows_gets_the_width_of_the_unmeasured(computed):
    assert computed.of("gpu", "launch") == UNMEASURED_SIGMA
    assert computed.of("fp8", "matrix") == UNMEASURED_SIGMA
    assert computed.of("model", "host") == 0.0
    assert computed.together(("gpu", "model"), "matrix") == pytest.approx(
        np.hypot(computed.of("gpu", "matrix"), computed.of("model", "matrix"))
    )


def test_a_check_that_is_right_has_no_error():
    exact = np.array([1.0, 2.0])
    right = Check(transfer="gpu", quantity="matrix", what="", predicted_s=exact, measured_s=exact)
    assert transfer_errors.sigma_of(right) == 0.0
    assert transfer_errors.sigma_of(replace(right, predicted_s=1.1 * exact)) == pytest.approx(
        np.log(1.1) / 1.6449, rel=1e-3
    )
