"""A user's file is opened by ppdsim.reading and nowhere else, so that its bounds hold for every file."""

from __future__ import annotations

import ast
from pathlib import Path

READS = {"read_text", "read_bytes", "open", "fdopen", "read_csv", "read_json", "read_parquet", "loadtxt", "genfromtxt",
         "fromfile", "memmap", "load", "decompress", "GzipFile", "YAML"}  # fmt: skip
"""Names of calls that read a file, in whatever module."""
MODULES = {
    "gzip",
    "json",
    "np",
    "numpy",
    "pd",
    "pandas",
    "pickle",
    "orjson",
    "io",
    "os",
    "codecs",
    "mmap",
    "zlib",
    "bz2",
}
"""Modules whose `load` and `open` are meant; those of other names (a profile's, a scenario's) go through the reader."""
ALLOWED = {
    "reading.py": "the reader itself",
    "yaml_file.py": "parses the text that the reader gives",
    "report/page.py": "the package's own template files",
    "machine/host.py": "/proc and /sys",
    "machine/sampler.py": "/proc",
    "engines/sglang/transfer_engine.py": "the pipe to its own child",
    "engines/logs.py": "the end of a log that a server of ours writes, of a fixed length",
    "machine/process_tree.py": "/proc",
    "engines/launch/state.py": "/proc",
    "engines/launch/process.py": "opens a log to write",
    "measure/lock.py": "its own lock",
    "cli/app.py": "the null device",
    "cli/predict.py": "writes",
    "files.py": "writes",
    "measure/journal.py": "appends to its own file",
    "measure/monitor.py": "appends to its own file",
    "sweep/identity.py": "the package's own source",
    "sweep/store.py": "writes", "results.py": "writes", "routing/decision_log.py": "writes",
}  # fmt: skip


def found_in(source: str) -> set[str]:
    """Return the names of the calls of a module that may read a file."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in {"open", "GzipFile", "YAML"}:
            found.add(called.id)
        elif isinstance(called, ast.Attribute) and called.attr in READS:
            of = called.value.id if isinstance(called.value, ast.Name) else ""
            if called.attr not in {"load", "open", "read_json", "read_text"} or of in MODULES:
                found.add(f"{of}.{called.attr}")
            elif called.attr == "open" and not of.startswith(("door", "service", "self")):
                found.add(f"{of}.open")
            elif called.attr == "read_text" and of != "reading":
                found.add(f"{of}.read_text")
    return found


def test_no_other_module_opens_a_file(repository: Path) -> None:
    package = repository / "ppdsim"
    opening = {
        name: calls
        for file in sorted(package.rglob("*.py"))
        if (calls := found_in(file.read_text())) and (name := file.relative_to(package).as_posix())
    }
    foreign = {name: calls for name, calls in opening.items() if name not in ALLOWED}
    assert not foreign, f"use ppdsim.reading, or add the file with a reason: {foreign}"
    assert not ALLOWED.keys() - opening.keys(), "no longer opens a file; take it off the list"


def test_the_search_sees_each_way() -> None:
    for text in (
        "open('a')", "path.open()", "path.read_text()", "path.read_bytes()", "gzip.open(p)", "json.load(f)",
        "np.load(p)", "gzip.decompress(b)", "pd.read_csv(p)", "YAML(typ='safe')", "io.open(p)", "os.open(p, 0)",
    ):  # fmt: skip
        assert found_in(text), text
    assert not found_in("profile.load(path)\nservice.open()\nreading.read_text(path)\nself.open()")
