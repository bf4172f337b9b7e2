"""The one rule for what a command finds at ``-o``: it replaces files of the same run, and refuses those of another.

Which run the files of a folder are of stands in a record beside them, ``.ppdsim-run.json``: the command, what it was
run on, what decides its results (scenario, seed, limits), and the files. The same run may be repeated: it replaces its
files and removes those that it no longer writes. Files of another run, or result files that no record names, end the
command before any work; ``--force`` removes the recorded files of that run, and nothing else. A file to write, such as
a profile or a CSV, that exists is refused without ``--force`` in the same way.

Not modelled: a change of what a profile or a trace holds, or of ppdsim; the same command is the same run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdsim.cli.common import check_folder, print_status, print_written
from ppdsim.errors import InputError
from ppdsim.files import write_whole
from ppdsim.reading import read_json

if TYPE_CHECKING:
    from ppdsim.scenario import Scenario

RECORD = ".ppdsim-run.json"
SCHEMA = "ppdsim/run-folder/1"
RESULT_FILES = (
    "accuracy.txt", "alternatives.json", "capacities.json", "capacity.json", "card.txt", "crossover.json",
    "formulas-only.json", "interrupted",
    "manifest.json", "points.jsonl", "policies.json", "profile.json", "report.html", "rows", "summary.json",
    "sweep.csv", "sweep.json", "turns.csv", "turns.parquet", "validation.json", "wire.json",
)  # fmt: skip
"""What commands write into a folder; found without a record, such a file is of a run that is not known."""
INTERRUPTED = "interrupted"
"""Folder of what had ended at Ctrl-C."""
MOST_NAMED = 3
"""Names that an error lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """A folder that a command may write to, and what is known of the run that it writes.

    Attributes
    ----------
    run : mapping
        ``command``, ``on`` and ``decided_by``, as the record states them.
    earlier : tuple of str
        Files of the same run that lie there, or of another one that ``--force`` gives up; relative to the folder.
    """

    path: Path
    run: Mapping[str, Any]
    earlier: tuple[str, ...]

    @contextmanager
    def writing(self, *, whole: bool = True) -> Iterator[list[Path]]:
        """Write the results of the run; the block lists each file that it has written.

        The record is there before the first file, so that a run that is killed half-way can be repeated. Where the
        block ends, files of the earlier run that were not written again are removed; they stay where it fails, or where
        what it writes is not `whole`, as after Ctrl-C.
        """
        written: list[Path] = []
        made = not self.path.exists()
        self._record(self.earlier)
        ended = False
        try:
            yield written
            ended = whole
        finally:
            now = [Path(os.path.relpath(file, self.path)).as_posix() for file in written]
            if ended:
                _remove(self.path, [name for name in self.earlier if name not in now])
            self._record(now if ended else [*self.earlier, *now])
            if not ended and [path.name for path in self.path.iterdir()] == [RECORD]:
                (self.path / RECORD).unlink()
                if made:
                    self.path.rmdir()

    def keep_interrupted(self, write: Callable[[Path], Iterable[Path]], *, quiet: bool, lost: str) -> None:
        """Keep what had ended at Ctrl-C in the folder ``interrupted``, beside what the same run may have left before.

        Parameters
        ----------
        write : callable
            Writes what there is into a folder, and returns the files.
        lost : str
            Where that is nothing: what had not ended by then.
        """
        with self.writing(whole=False) as written:
            written.extend(write(self.path / INTERRUPTED))
        if not written:
            print_status(f"nothing is kept: {lost}", quiet=quiet)
        print_written(written, quiet=quiet)

    def _record(self, files: Iterable[str]) -> None:
        document = {"schema": SCHEMA, **self.run, "files": sorted(dict.fromkeys(files))}
        write_whole(self.path / RECORD, json.dumps(document, indent=1, sort_keys=True) + "\n")


def claim(
    path: Path,
    *,
    command: str,
    on: str,
    decided_by: Mapping[str, Any],
    force: bool,
    beside: Mapping[str, Path | None] | None = None,
) -> RunFolder:
    """Return the folder to write to, before any work is done.

    Parameters
    ----------
    on : str
        What the command is run on, in words: a scenario's or a profile's name.
    decided_by : mapping
        Everything that decides the results, as JSON has it.
    beside : mapping or None
        Files that the same run writes elsewhere, by the option that names each.

    Raises
    ------
    InputError
        If the path cannot be a folder, or holds files of another run and `force` is not given.
    """
    check_folder(path, f"-o {path}")
    run = json.loads(json.dumps({"command": command, "on": on, "decided_by": decided_by}, sort_keys=True, default=str))
    record = _read(path)
    recorded = tuple(name for name in record.get("files", ()) if os.path.lexists(path / name))
    same = {key: record.get(key) for key in run} == run
    for option, file in (beside or {}).items():
        if file is not None:
            known = same and Path(os.path.relpath(file, path)).as_posix() in recorded
            check_file(file, option, force=force or known)
    unknown = [name for name in RESULT_FILES if os.path.lexists(path / name) and name not in recorded]
    if not same and not force and (recorded or unknown):
        raise InputError(f"-o {path}: holds {_found(run, record, recorded, unknown)}; give another folder, or --force")
    return RunFolder(path=path, run=run, earlier=recorded)


def refuse_results(path: Path, *, but: Collection[str], goes_on: bool) -> None:
    """Refuse a folder with results of another command, unless the caller `goes_on` with what it has there.

    Files named in `but` are the caller's own, which say themselves whose they are.

    Raises
    ------
    InputError
        If there is one, or the path cannot be a folder.
    """
    check_folder(path, f"-o {path}")
    if goes_on:
        return
    record = _read(path)
    found = [name for name in record.get("files", ()) if os.path.lexists(path / name)]
    unknown = [name for name in RESULT_FILES if name not in but and os.path.lexists(path / name)]
    if found or unknown:
        theirs = f"results of 'ppdsim {record['command']}' ({_listed(found)})" if found else _listed(unknown)
        raise InputError(f"-o {path}: holds {theirs}; give another folder")


def of_scenario(scenario: Scenario, **others: Any) -> dict[str, Any]:
    """Return what decides the results of a run of a scenario: its keys, and `others` by their names."""
    described = ("question", "run_time")
    return {**scenario.model_dump(mode="json", by_alias=True, exclude=set(described)), **others}


def check_file(path: Path, option: str, *, force: bool) -> None:
    """Refuse, before any work is done, a file to write to that cannot be one, or that exists.

    Raises
    ------
    InputError
        If the path is a folder, a folder above it is a file, there is no permission to write there, or the file has
        something in it and `force` is not given.
    EnvironmentProblem
        If its disk is full or read-only.
    """
    if path.is_dir():
        raise InputError(f"{option} {path}: a folder, expected a file")
    check_folder(path.parent, f"{option} {path}")
    if not force and path.is_file() and path.stat().st_size:
        raise InputError(f"{option} {path}: exists; give another file, or --force to replace it")


def _found(run: Mapping[str, Any], record: Mapping[str, Any], recorded: Iterable[str], unknown: Iterable[str]) -> str:
    if not record:
        return f"results of a run that is not recorded there ({_listed(unknown)})"
    theirs = f"'ppdsim {record['command']}' of {record['on']}"
    if (record["command"], record["on"]) != (run["command"], run["on"]):
        return f"results of {theirs} ({_listed([*recorded, *unknown])})"
    keys = sorted(_differences(record["decided_by"], run["decided_by"]))
    return f"results of {theirs} with other {_listed(keys)}"


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + more


def _differences(first: Any, second: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys under which two documents differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in first.keys() | second.keys():
            yield from _differences(first.get(key), second.get(key), f"{prefix}.{key}" if prefix else key)
    elif first != second:
        yield prefix


def _read(path: Path) -> dict[str, Any]:
    """Return the record of a folder; empty where there is none that can be read."""
    try:
        found = read_json(path / RECORD)
    except InputError:
        return {}
    keys = {"schema": str, "command": str, "on": str, "decided_by": dict, "files": list}
    if not isinstance(found, dict) or any(not isinstance(found.get(key), kind) for key, kind in keys.items()):
        return {}
    return found if found["schema"] == SCHEMA and all(isinstance(name, str) for name in found["files"]) else {}


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Remove recorded files that lie in the folder, and folders that are empty then."""
    for name in names:
        file, parts = folder / name, Path(name).parts
        inside = ".." not in parts and file.parent.resolve().is_relative_to(folder.resolve())
        if not inside or not (file.is_file() or file.is_symlink()):
            continue
        file.unlink()
        for above in list(file.parents)[: len(parts) - 1]:
            if not any(above.iterdir()):
                above.rmdir()
