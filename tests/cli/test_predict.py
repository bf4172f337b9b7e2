"""``ppdsim predict``: rows are predicted as they are read, and all of the answer appears or none."""

from __future__ import annotations

import csv
import io
import json

import pytest

from ppdsim.cli.app import run

ROW = {"kind": "prefill", "cached_tokens": 4096, "new_tokens": 256}


def predicted(tmp_path, capsys, content, name="points.jsonl"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    code = run(["predict", "h200x2_llama-3.1-8b_sglang-0.5.17", "--points", str(path)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_text_that_a_spreadsheet_computes_or_a_terminal_obeys_is_plain(tmp_path, capsys):
    rows = [{**ROW, "note": '=HYPERLINK("x")', "@sum": "\x1b[2J"}, {**ROW, "other": "-5"}, {**ROW, "new_tokens": 512}]
    code, out, _ = predicted(tmp_path, capsys, "\n".join(map(json.dumps, rows)))
    assert code == 0
    assert "\x1b" not in out
    first, second, third = csv.DictReader(io.StringIO(out))
    assert (first["note"], second["other"], third["note"]) == ('\'=HYPERLINK("x")', "-5", "")
    assert first["'@sum"] == r"\x1b[2J"
    assert first["predicted_s"] == second["predicted_s"] < third["predicted_s"]


def test_a_table_from_a_spreadsheet_with_a_byte_order_mark_is_read(tmp_path, capsys):
    content = b"\xef\xbb\xbfkind,cached_tokens,new_tokens\r\nprefill,4096,256\r\n"
    code, out, _ = predicted(tmp_path, capsys, content, "points.csv")
    assert code == 0
    assert out.splitlines()[0] == "kind,cached_tokens,new_tokens,predicted_s,low_s,high_s,extrapolated,mechanisms"


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ({**ROW, "new_tokens": 0}, "points.jsonl:601: new_tokens=0"),
        ({**ROW, "new_tokens": 1e308}, "limit tokens"),
        ({**ROW, "arm": "p-full", "transport": "rdma", "cached_tokens": "x"}, "points.jsonl:601"),
    ],
)
def test_a_mistake_in_the_last_row_is_found_before_the_first_is_printed(last, message, tmp_path, capsys):
    content = "\n".join(map(json.dumps, [*[ROW] * 600, last]))
    code, out, err = predicted(tmp_path, capsys, content)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
