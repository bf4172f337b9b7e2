"""Whatever stands in a file, reading it gives an answer or one clear line, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz.damage import documents, texts
from fuzz.formats import FORMATS, Format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppdsim.errors import PpdsimError

DOCUMENTS = {name: form.document() for name, form in FORMATS.items() if form.suffix in (".json", ".yaml") or form.lines}
TRAPS = {
    "nothing": b"",
    "blank": b" \n",
    "nested json": b"[" * 5_000,
    "nested object": b'{"a": ' * 5_000,
    "long number": b'{"model": 1' + b"0" * 5_000 + b"}",
    "no text": b"\xff\xfe\x00",
    "control": b"a: \x00\x07",
    "date and set": b"? [1, 2]\n: 2026-01-01\nmodel: !!set {a}",
    "anchors": b"a: &a [1]\nb: [*a, *b]",
    "list": b"[1, 2]",
    "word": b"once",
}
COMMON = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    return tmp_path_factory.mktemp("fuzz")


def answers(form: Format, content: bytes, folder: Path) -> bool:
    """Read a file; return whether it was accepted. An error must be one line that names the file."""
    here = folder / "here"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    path = here / f"file{form.suffix}"
    path.write_bytes(content)
    message = None
    try:
        form.read(path)
    except PpdsimError as problem:
        message = str(problem)
    if message is None:
        return True
    assert "\n" not in message
    assert "here" in message
    return False


@pytest.mark.parametrize("name", FORMATS)
def test_the_valid_file_is_read(name: str, folder: Path) -> None:
    assert answers(FORMATS[name], FORMATS[name].valid, folder)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("content", TRAPS.values(), ids=TRAPS)
def test_traps_of_the_parsers_are_errors_or_no_rows(name: str, content: bytes, folder: Path) -> None:
    accepted = answers(FORMATS[name], content, folder)
    # Measurements may have no row; a CSV of one line is a header.
    assert not accepted or name in ("measurements", "measurements gz", "measurements csv", "journal")


@pytest.mark.parametrize("more", [b",9", b',"a;b"', b"\nx", b'\n"', b"\n,,;,,"])
@pytest.mark.parametrize("name", ["points csv", "measurements csv"])
def test_a_row_of_another_width_is_an_error(name: str, more: bytes, folder: Path) -> None:
    assert not answers(FORMATS[name], FORMATS[name].valid.rstrip() + more, folder)


@pytest.mark.parametrize("name", FORMATS)
@COMMON
@given(data=st.data())
def test_damaged_bytes_are_a_clear_error_or_an_answer(name: str, folder: Path, data: st.DataObject) -> None:
    answers(FORMATS[name], data.draw(texts(FORMATS[name].valid)), folder)


@pytest.mark.parametrize("name", DOCUMENTS)
@COMMON
@given(data=st.data())
def test_wrong_values_are_a_clear_error_or_an_answer(name: str, folder: Path, data: st.DataObject) -> None:
    form = FORMATS[name]
    answers(form, form.text(data.draw(documents(DOCUMENTS[name]))), folder)
