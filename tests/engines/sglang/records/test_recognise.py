"""Recorded files are told apart by what is in them, whatever they are called."""

from __future__ import annotations

import gzip
import json

import pytest
from engines.sglang.records.recorded import SAMPLES, imported, written
from fit.grids import MANIFEST
from hypothesis import given
from hypothesis import strategies as st

from ppdsim.cli.app import run
from ppdsim.engines.importing import recognise
from ppdsim.engines.records.deployment import Deployment
from ppdsim.engines.records.source import Source, read_source
from ppdsim.engines.sglang.records.recognise import Format
from ppdsim.errors import MeasurementError
from ppdsim.types import Arm

FORMATS = {
    "bench_serving.jsonl": Format.BENCH_SERVING,
    "unified.log": Format.TIME_STATS,
    "prefill.log": Format.TIME_STATS,
    "decode.log": Format.TIME_STATS,
    "export_unified.log": Format.METRICS_EXPORT,
    "export_decode.log": Format.METRICS_EXPORT,
}


def test_every_sample_has_its_format_and_its_source_named():
    assert {path.name for path in SAMPLES.iterdir()} == {*FORMATS, "README.md"}
    named = (SAMPLES / "README.md").read_text()
    for name, form in FORMATS.items():
        assert recognise(read_source(SAMPLES / name))[0] is form
        assert f"`{name}`" in named


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "x: no rows"),
        (["", "hello"], "x:2: unknown record format: .*'kind' .*'request_parameters'.*; got 'hello'"),
        (['{"mean_ttft_ms": 1.0}'], "x:1: unknown record format"),
        (["{" * 5000], "x:1: unknown record format"),
    ],
)
def test_a_file_of_no_known_format(tmp_path, lines, words):
    with pytest.raises(MeasurementError, match=words):
        recognise(read_source(written(tmp_path / "x", lines)))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_format_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("x") / "x"
    path.write_bytes(content)
    with pytest.raises(MeasurementError, match=r"^[^\n]*$"):
        recognise(read_source(path))


def test_a_torn_archive_and_a_file_that_is_not_there(tmp_path):
    torn = tmp_path / "x.gz"
    torn.write_bytes(gzip.compress((SAMPLES / "unified.log").read_bytes())[:-20])
    with pytest.raises(MeasurementError, match=r"x\.gz: broken gzip file \(Compressed file ended"):
        read_source(torn)
    with pytest.raises(MeasurementError, match=r"none: cannot be read \(No such file or directory\)"):
        read_source(tmp_path / "none")


def test_a_line_end_inside_a_json_text_does_not_cut_it(tmp_path):
    path = tmp_path / "x"
    path.write_text(json.dumps({"kind": "a\u2028b"}, ensure_ascii=False) + "\n")
    source = read_source(path)
    assert isinstance(source, Source)
    assert [record for _, record in source.json_lines()] == [{"kind": "a\u2028b"}]


def test_files_of_two_formats_are_not_one_run(tmp_path):
    with pytest.raises(
        MeasurementError, match=r"decode.log: a request time stats log, but .*export.* import them separately"
    ):
        imported(tmp_path / "m", SAMPLES / "export_decode.log", SAMPLES / "decode.log", said=Deployment(arm=Arm.P_FULL))


def test_the_command_says_what_it_read_and_what_it_left_out(tmp_path, capsys):
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(MANIFEST))
    logs = [str(SAMPLES / name) for name in ("prefill.log", "decode.log")]
    asked = ["import", *logs, "--arm", "p-full", "--manifest", str(manifest), "-o", str(tmp_path / "m")]
    assert run(asked) == 0
    said = capsys.readouterr().err
    assert "request time stats log: made-up_machine: 18 load; 0 refused" in said
    assert "4 requests that the servers sent to themselves" in said
    assert run([*asked, "--transport", "none", "--force"]) == 2
    assert "expected --transport tcp, nvlink or rdma" in capsys.readouterr().err
