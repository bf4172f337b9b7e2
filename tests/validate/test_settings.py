"""What is predicted for a cell follows the settings of the server that measured it, not those of the profile's."""

from __future__ import annotations

import pytest

from ppdsim import compose, library, measurements, profile
from ppdsim.validate import validate

RUN = "h200x1_llama-3.1-8b_sglang-0.5.17_chunks-512"


def test_cells_are_predicted_with_the_chunk_that_they_were_measured_with(repository):
    found = profile.load(library.find("profile", "h200x1_llama-3.1-8b_sglang-0.5.17"))
    measured = measurements.read(repository / "calibration/measurements" / RUN)
    assert (measured.manifest.chunked_prefill_size, found.chunked_prefill_size) == (512, 8192)
    other = next(cells for cells in validate(found, [measured]).cells if not cells.scope.startswith("the same"))
    point = next(p for p in other.points if (p.cached_tokens, p.new_tokens) == (0.0, 4096.0))
    curves = compose.central(found)
    forward_s = {size: float(curves.prefill.seconds(4096.0, 0.0, size)) for size in (512, 8192)}
    outside_s = float(curves.frontend.before_s(4096.0)) + float(curves.frontend.after_s())
    assert point.predicted_s == pytest.approx(forward_s[512] + outside_s, rel=1e-6)
    assert abs(point.predicted_s / point.measured_s - 1.0) < abs((forward_s[8192] + outside_s) / point.measured_s - 1.0)
