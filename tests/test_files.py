"""A file that is written whole is there with all of its content, or as it was before; no scratch is left either way."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest

from ppdsim.errors import EnvironmentProblem, InputError
from ppdsim.files import check_writable, naming, whole, write_whole


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


def test_file_and_folder_are_synced_before_and_after_the_rename(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.txt"
    seen = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        what = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        seen.append((what, path.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(path, "x")
    assert seen == [("file", False), ("folder", True)]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_or_read_only_disk_is_a_problem_of_the_machine_and_names_the_file(number, tmp_path) -> None:
    path = write_whole(tmp_path / "a.txt", "old")

    def fail() -> None:
        with whole(path) as scratch:
            scratch.write_text("half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(EnvironmentProblem, match=rf"a\.txt: cannot be written \({os.strerror(number)}\)"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_system_says_full_in_the_same_way() -> None:
    def fill() -> None:
        with naming(Path("log")), Path("/dev/full").open("w") as file:
            file.write("x" * 100_000)

    with pytest.raises(EnvironmentProblem, match=r"^log: cannot be written \(No space left on device\)"):
        fill()


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EACCES, InputError), (errno.EROFS, EnvironmentProblem), (errno.ENOSPC, EnvironmentProblem)],
)
def test_a_folder_that_takes_no_files_is_found_by_writing_to_it(number, kind, tmp_path, monkeypatch) -> None:
    check_writable(tmp_path / "new" / "deep", "-o new")
    assert not list(tmp_path.iterdir())

    def refuse(**where: Path) -> None:
        assert where == {"dir": tmp_path}
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(kind, match=rf"^-o new: .* cannot be written to \({os.strerror(number)}\)"):
        check_writable(tmp_path / "new" / "deep", "-o new")


def test_a_folder_of_the_system_takes_no_files() -> None:
    """Root may write everywhere but here."""
    with pytest.raises((InputError, EnvironmentProblem), match="-o /proc/1/x: /proc/1 cannot be written to"):
        check_writable(Path("/proc/1/x"), "-o /proc/1/x")
