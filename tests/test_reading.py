"""Whatever stands at the name of a file: its text, or one line that begins with the name."""

from __future__ import annotations

import gzip
import hashlib
import os
import resource
import socket

import pytest

from ppdsim import reading
from ppdsim.errors import InputError, MeasurementError
from ppdsim.limits import DOCUMENT_BYTES, JSON_DEPTH, LINE_BYTES, MIB, ROWS_BYTES

FOREIGN = {
    "zstd": (b"\x28\xb5\x2f\xfd\x00", "zstd -d"),
    "utf-16": ("a,b\n".encode("utf-16"), "UTF-16 text, expected UTF-8"),
    "zip": (b"PK\x03\x04", "unzip"),
    "parquet": (b"PAR1", "parquet"),
    "bytes": (b"{\xff}", "not UTF-8 text (byte 0xff)"),
    "half a gzip": (gzip.compress(b"{}" * 100)[:-9], "broken gzip file"),
    "half a gzip head": (b"\x1f\x8b", "broken gzip file"),
    "a broken gzip": (gzip.compress(b"{}" * 100)[:-8] + b"12345678", "broken gzip file"),
    "a gzip with a foreign end": (gzip.compress(b"{}") + b"more", "broken gzip file"),
    "nan": (b'{"a": NaN}', "NaN is no number of JSON, at column 7"),
    "infinity": (b'{"a": -Infinity}', "Infinity is no number of JSON, at column 8"),
    "lone surrogate": (b'{"a": "\\ud800"}', "malformed JSON"),
    "a long number": (b"1" + b"0" * 5000, "malformed JSON"),
    "deep": (b"[" * 100 + b"]" * 100, "the limit json_depth = 64 levels"),
    "very deep": (b'{"a":' * 100_000, "malformed JSON"),
    "a key twice": (b'{"a": 1, "a": 2}', "key 'a' is there twice"),
    "an inner key twice": (b'{"a": {"b": 1, "b" : 2}}', "key 'b' is there twice"),
    "nothing": (b"", "malformed JSON"),
    "a line": (b'{"a":\n 1,,}', "file:2: malformed JSON"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_json_text_is_named(name, tmp_path):
    content, message = FOREIGN[name]
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(MeasurementError) as caught:
        reading.read_json(path, error=MeasurementError)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


def test_a_text_is_read_with_and_without_gzip_and_byte_order_mark(tmp_path):
    path = tmp_path / "file"
    for content in (b'{"a": [1]}', b'\xef\xbb\xbf{"a": [1]}', gzip.compress(b'\xef\xbb\xbf{"a": [1]}')):
        path.write_bytes(content)
        assert reading.read_json(path) == {"a": [1]}
        assert reading.sha256(path) == hashlib.sha256(content).hexdigest()


def test_what_python_writes_is_read_where_it_is_asked_for():
    assert reading.parse_json('{"a": [Infinity, 1]}', "x", python_numbers=True) == {"a": [float("inf"), 1]}
    for text in ('{"a": NaN, "b": "\\ud800"}', '{"a": NaN', '{"a": 1' + "0" * 5000 + "}"):
        with pytest.raises(InputError, match="x: malformed JSON"):
            reading.parse_json(text, "x", python_numbers=True)
    with pytest.raises(InputError, match="twice"):
        reading.parse_json('{"a": NaN, "a": 1}', "x", python_numbers=True)


def test_a_colon_inside_a_text_is_no_key():
    assert reading.parse_json(r'{"a": "b\": c"}', "x") == {"a": 'b": c'}


@pytest.mark.parametrize("kind", ["a FIFO", "a folder", "a device", "a socket", "none"])
def test_what_is_no_regular_file_is_not_waited_for(kind, tmp_path):
    path = tmp_path / "file"
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.path.relpath(path))
    expected = {"none": "No such file", "a socket": "No such device"}.get(kind, f"{kind}, expected a file")
    for read in (reading.read_text, reading.sha256, lambda path: list(reading.lines(path))):
        with pytest.raises(InputError, match=f"file: cannot be read .*{expected}"):
            read(path)


def test_a_long_file_is_refused_by_its_size(tmp_path):
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(2 * ROWS_BYTES.value)
    with pytest.raises(InputError, match="limit rows_bytes"):
        next(reading.lines(path))
    with pytest.raises(InputError, match="limit document_bytes"):
        reading.read_text(path)


def test_a_gzip_file_that_unpacks_without_end_is_refused_in_little_memory(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(b"\n" * (72 * MIB), 6))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="limit unpacked_ratio"):
        list(reading.lines(path))
    with pytest.raises(InputError, match="limit document_bytes"):
        reading.read_text(path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 150 * MIB


def test_lines_have_their_numbers_across_chunks_and_line_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "CHUNK_BYTES", 3)
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbfab\r\n\n\n \n\n\n\xc3\xa9\xe2\x80\xa8x\nlast")
    assert list(reading.lines(path)) == [(1, "ab"), (7, "é\u2028x"), (8, "last")]


def test_a_long_line_and_a_line_of_no_text_are_named(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a\n" + b"x" * (LINE_BYTES.value + 1))
    with pytest.raises(InputError, match=r"file:2: .*limit line_bytes"):
        list(reading.lines(path))
    path.write_bytes(b"a\n\xc3")
    with pytest.raises(InputError, match=r"file:2: not UTF-8"):
        list(reading.lines(path))


CSV = {
    "a long field": ('a,b\n1,"' + "x" * 131_073 + '"\n', "file:2: a field is longer than the limit csv_field_char"),
    "a quote without its end": ('a,b\n1,"2\n', "file:2: not CSV"),
    "too few": ("a,b\n1,2\n\n3\n", "file:4: expected 2 fields, as in the header, got 1"),
    "a column twice": ("a,b, a\n", "file:1: column 'a' is there twice"),
    "semicolons": ("a;b\n1;2\n", "file:1: the header is parted by a semicolon, expected a comma"),
    "tabs": ("a\tb\n", "parted by a tab"),
    "columns": (",".join(map(str, range(1001))), "limit csv_columns"),
}


@pytest.mark.parametrize("name", CSV)
def test_what_is_no_table_is_named(name, tmp_path):
    text, message = CSV[name]
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        list(reading.csv_rows(path))
    assert message in str(caught.value)


def test_rows_of_a_table_from_windows(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b'\xef\xbb\xbfa, b\r\n1,"x,\r\ny"\r\n')
    assert list(reading.csv_rows(path)) == [(3, {"a": "1", "b": "x,\ny"})]


def test_depth_counts_what_is_inside_one_another_only():
    assert reading.parse_json("[" + ",".join(["[]"] * 100) + "]", "x") == [[]] * 100
    reading.parse_json("[" * JSON_DEPTH.value + "]" * JSON_DEPTH.value, "x")
    assert DOCUMENT_BYTES.value < ROWS_BYTES.value
