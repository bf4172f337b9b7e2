"""The constants that widen derived profiles are those that the published tables give, and the docs show the same."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from ppdsim import profile
from ppdsim.calibrate.derive import checks, errors
from ppdsim.calibrate.derive.check import Check
from ppdsim.calibrate.derive.whole import whole_checks
from ppdsim.calibrate.mechanisms import UNMEASURED_SIGMA


@pytest.fixture(scope="module")
def folder(repository):
    return repository / "calibration/published"


@pytest.fixture(scope="module")
def computed(folder):
    return errors.compute(folder)


def test_the_shipped_constants_are_the_computed_ones(computed, repository):
    assert errors.load() == computed
    assert (repository / "calibration/transfer.json").read_text() == errors.to_json(computed)


def test_the_table_in_the_docs_is_the_one_that_the_benchmark_prints(computed, folder, repository):
    path = repository / "benchmarks/transfer_errors.py"
    spec = importlib.util.spec_from_file_location("transfer_errors", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    page = (repository / "docs/explanation/derive.md").read_text()
    measured = profile.load(repository / "calibration/profiles" / f"{benchmark.MEASURED}.json")
    for check in [*checks.all_checks(folder), *whole_checks(measured, folder, computed)]:
        assert benchmark.line(check) in page


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
    assert errors.sigma_of(right) == 0.0
    assert errors.sigma_of(replace(right, predicted_s=1.1 * exact)) == pytest.approx(np.log(1.1) / 1.6449, rel=1e-3)
