"""Every registered curve: finite, positive, non-decreasing in tokens, vectorised as scalar, round trip of values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from curve_cases import CASES, FACTS
from hypothesis import given
from hypothesis import strategies as st

from ppdsim.curves import CURVES
from ppdsim.errors import ProfileError

tokens = st.integers(1, 40_000)
context = st.integers(0, 60_000)


def test_every_registered_curve_has_a_case():
    assert set(CASES) == set(CURVES)


@pytest.mark.parametrize("kind", CURVES)
class TestCurve:
    @given(m=tokens, c=context)
    def test_is_finite_and_not_negative(self, kind, m, c):
        value = CASES[kind].seconds(float(m), float(c))
        assert isinstance(value, float)
        assert math.isfinite(value)
        assert value >= 0.0

    @given(m=tokens, c=context, more=st.integers(0, 4000))
    def test_does_not_fall_with_tokens(self, kind, m, c, more):
        case = CASES[kind]
        here = case.seconds(float(m), float(c))
        assert case.seconds(float(m + more), float(c)) >= here - 1e-15
        assert case.seconds(float(m), float(c + more)) >= here - 1e-15

    def test_an_array_gives_what_scalars_give(self, kind):
        m = np.array([1.0, 64.0, 300.0, 8192.0, 20_000.0])
        c = np.array([0.0, 1.0, 4096.0, 100.0, 32_768.0])
        case = CASES[kind]
        each = [case.seconds(float(a), float(b)) for a, b in zip(m, c, strict=True)]
        np.testing.assert_allclose(case.seconds(m, c), each, rtol=1e-12)

    def test_values_round_trip(self, kind):
        curve = CASES[kind].curve
        assert CURVES[kind].from_values(curve.parameter_values(), **FACTS.get(kind, {})) == curve

    def test_parameters_lie_inside_their_bounds_and_have_a_unit(self, kind):
        values = CASES[kind].curve.parameter_values()
        for p in CURVES[kind].PARAMETERS:
            assert p.low <= values[p.name] <= p.high
            assert p.unit
            assert p.meaning

    def test_an_unknown_parameter_is_named(self, kind):
        values = dict(CASES[kind].curve.parameter_values())
        wrong = next(iter(values)) + "x"
        with pytest.raises(ProfileError, match=f"unknown parameter '{wrong}'; did you mean"):
            CURVES[kind].from_values({**values, wrong: 1.0})

    def test_a_missing_parameter_is_named(self, kind):
        values = dict(CASES[kind].curve.parameter_values())
        gone = next(iter(values))
        del values[gone]
        with pytest.raises(ProfileError, match=f"missing parameter '{gone}'"):
            CURVES[kind].from_values(values)

    def test_a_column_of_draws_gives_a_row_of_seconds_each(self, kind):
        case = CASES[kind]
        draws = {name: np.array([[value], [value]]) for name, value in case.curve.parameter_values().items()}
        samples = CURVES[kind].from_values(draws, **FACTS.get(kind, {}))
        assert all(v.shape == (2, 1) for v in samples.parameter_values().values())
