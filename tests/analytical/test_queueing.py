"""Waits against textbook values."""

from __future__ import annotations

import pytest

from ppdsim.analytical.queueing import mg1_wait_s


def test_md1_is_half_of_mm1():
    # M/D/1: rho / (2 (1 - rho)) services.
    assert mg1_wait_s(0.8, 1.0) == pytest.approx(0.8 / (2 * 0.2))


def test_a_mixture_has_the_second_moment_of_its_parts():
    # services 0.5 and 1.5 at rate 0.5: E[S^2] = 1.25, rho = 0.5
    assert mg1_wait_s(0.5, 1.0, 1.25) == pytest.approx(0.5 * 1.25 / (2 * 0.5))


def test_a_saturated_server_has_no_finite_wait():
    assert mg1_wait_s(1.0, [0.9, 1.0]).tolist() == [pytest.approx(0.81 / 0.2), float("inf")]
