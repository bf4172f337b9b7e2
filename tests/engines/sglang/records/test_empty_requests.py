"""Requests without a prompt or without an answer, in every record that loads are imported from."""

from __future__ import annotations

import pytest
from engines.sglang.records.recorded import imported, sample, written
from engines.sglang.records.test_time_stats import UNIFIED as LINE

from ppdsim.engines.sglang.records import RECORDS
from ppdsim.engines.sglang.records.recognise import Format
from ppdsim.errors import MeasurementError

EXPORTED, *_ = sample("export_unified.log")


def bench(prompt: int, output: int) -> dict[str, object]:
    gaps = [0.01] * (output - 1)
    return {
        "backend": "sglang", "duration": 1.0, "input_lens": [100, prompt], "output_lens": [3, output],
        "ttfts": [0.5, 0.5], "itls": [[0.01, 0.01], gaps], "errors": ["", ""],
        "server_info": {"disaggregation_mode": "null"},
    }  # fmt: skip


def exported(prompt: int, output: int) -> dict[str, object]:
    return {**EXPORTED, "prompt_tokens": prompt, "cached_tokens": 0, "completion_tokens": output}


def logged(prompt: int, output: int) -> str:
    asked = LINE.replace("input_len=1000, cached_input_len=960", f"input_len={prompt}, cached_input_len=0")
    return asked.replace("output_len=6", f"output_len={output}").replace("rid=a1", f"rid=x{prompt}{output}")


# Records of a sound request and of the one that is asked for, and the place that an error names.
CASES = {
    Format.BENCH_SERVING: (lambda prompt, output: [bench(prompt, output)], "x.log:1: request 1: "),
    Format.METRICS_EXPORT: (lambda prompt, output: [EXPORTED, exported(prompt, output)], "x.log:2: "),
    Format.TIME_STATS: (lambda prompt, output: [LINE, logged(prompt, output)], "x.log:2: "),
}


def test_every_record_of_a_load_has_a_case():
    assert set(CASES) == set(RECORDS.converters) - {Format.GRID}


@pytest.mark.parametrize("form", CASES)
def test_a_request_without_a_prompt_is_refused_where_it_stands(form, tmp_path):
    records, where = CASES[form]
    with pytest.raises(MeasurementError, match=f"{where}a request of 0 prompt tokens, expected at least 1"):
        imported(tmp_path / "m", written(tmp_path / "x.log", records(0, 3)))
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("form", CASES)
def test_an_answer_without_a_token_is_left_out_and_counted(form, tmp_path):
    records, _ = CASES[form]
    found = imported(tmp_path / "m", written(tmp_path / "x.log", records(50, 0)))
    assert len(found.load) == 1
    assert found.manifest.notes == ("1 answers without a token were left out",)
    both = imported(tmp_path / "n", written(tmp_path / "x.log", records(50, 2)))
    assert len(both.load) == 2
    assert not both.manifest.notes
