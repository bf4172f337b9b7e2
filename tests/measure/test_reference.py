"""The plan's times come from a profile of the same GPU: one that was measured, with as much of it as there is."""

from __future__ import annotations

import json

import pytest

from ppdsim import library
from ppdsim.measure.estimate import DEFAULT, reference


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        ("NVIDIA H200", DEFAULT),
        # Not the derived one of the same GPU.
        ("NVIDIA H100 80GB HBM3", "h100x2_llama-3.1-8b_sglang-0.5.17_full"),
        ("NVIDIA B200", DEFAULT),
        ("no GPU", DEFAULT),
    ],
)
def test_the_profile_of_the_same_gpu_that_measured_most(gpu, expected):
    assert reference(gpu).id == expected


def test_a_profile_of_ones_own_counts_and_a_broken_one_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("PPDSIM_LIBRARY", str(tmp_path))
    content = json.loads(library.find("profile", DEFAULT).read_text())
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.json").write_text(json.dumps({**content, "id": "mine", "gpu": "NVIDIA B200"}))
    (tmp_path / "profiles" / "broken.json").write_text("{}")
    assert reference("NVIDIA B200").id == "mine"
    assert reference("NVIDIA H200").id == DEFAULT
