"""A file that is written whole is there with all of its content, or as it was before; no scratch is left either way."""

from __future__ import annotations

import pytest

from ppdsim.files import whole, write_whole


def test_bytes_and_text_are_written_and_the_folder_is_made(tmp_path) -> None:
    path = tmp_path / "new" / "a.txt"
    assert write_whole(path, "\u00e9\n") == path
    assert path.read_bytes() == b"\xc3\xa9\n"
    write_whole(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert list(path.parent.iterdir()) == [path]


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = write_whole(tmp_path / "a.txt", "old")

    def fail() -> None:
        with whole(path) as scratch:
            scratch.write_text("half")
            assert path.read_text() == "old"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
