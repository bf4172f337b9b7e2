"""The content hash changes with everything that decides a row and with nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ppdsim import library
from ppdsim.scenario import load
from ppdsim.sweep import identity
from ppdsim.sweep.identity import revision, row_key

SHORT = "workload.conversations=6"


def key(*settings: str, seed: int = 0) -> str:
    return row_key(load("one-pair", [SHORT, *settings]), seed)


@pytest.mark.parametrize(
    "setting",
    [
        "transport=tcp",
        "routing.gamma=2",
        "fleet.0.count=2",
        "slo.ttft_ms=100",
        "workload.turns_mean=6",
        "per_step=true",
    ],
)
def test_what_a_run_reads_is_in_it(setting) -> None:
    assert key(setting) != key()


@pytest.mark.parametrize("setting", ["question=another?", "run_time=long", "seed=9", "routing.gamma=1.0"])
def test_what_a_run_does_not_read_is_not(setting) -> None:
    assert key(setting) == key()


def test_the_seed_is_in_it() -> None:
    assert key(seed=1) != key()


def test_the_name_of_the_file_is_not(tmp_path) -> None:
    shutil.copy(library.find("scenario", "one-pair"), tmp_path / "mine.yaml")
    assert row_key(load(tmp_path / "mine.yaml", [SHORT]), 0) == key()


def test_the_content_of_the_profile_is_in_it(tmp_path) -> None:
    profile = json.loads(library.find("profile", load("one-pair").profile).read_text())
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(profile))
    before = key(f"profile={path}")
    path.write_text(json.dumps({**profile, "kv_pool_tokens": 1}))
    assert key(f"profile={path}") != before


def test_the_content_of_a_trace_is_in_it(tmp_path) -> None:
    turn = '{"conversation_id": 1, "turn": 0, "arrival_s": 0.0, "new_tokens": %d, "output_tokens": 4}\n'
    path = tmp_path / "chat.jsonl"
    keys = []
    for tokens in (10, 11, 10):
        path.write_text(turn % tokens)
        keys.append(row_key(load("one-pair", trace=path), 0))
    assert keys[0] == keys[2] != keys[1]


def test_the_source_of_the_simulator_is_in_it(tmp_path, monkeypatch, repository: Path) -> None:
    def of(change: str) -> str:
        copied = tmp_path / (change.replace("/", "-") or "same")
        shutil.copytree(repository / "ppdsim", copied, ignore=shutil.ignore_patterns("__pycache__"))
        if change:
            with (copied / change).open("a") as file:
                file.write("\n# changed\n")
        monkeypatch.setattr(identity.resources, "files", lambda name: copied)
        return revision.__wrapped__()

    same = of("")
    assert same == revision()
    for file in ("des/clock.py", "routing/ppd.py", "turn.py", "sweep/measures.py", "scenario/schema.py"):
        assert of(file) != same
    for file in ("report/wording.py", "cli/app.py", "fit/run.py"):
        assert of(file) == same


def test_every_module_that_a_row_imports_is_in_the_revision(repository: Path) -> None:
    """A module that rows rest on and `SIMULATOR` does not name would let old rows pass for new ones."""
    import subprocess
    import sys

    code = (
        "import sys; import ppdsim.sweep.row; from ppdsim.engines import ENGINES; "
        "[engine.scheduler() for engine in ENGINES.values()]; "
        "print(*sorted(n for n in sys.modules if n.startswith('ppdsim.')), sep='\\n')"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    package = repository / "ppdsim"
    covered = {file for name in identity.SIMULATOR for file in identity._modules(package / name)}
    harmless = {
        "errors",
        "extras",
        "files",
        "limits",
        "library",
        "printable",
        "registry",
        "schema_keys",
        "strict",
        "sweep",
        "sweep.row",
        "sweep.identity",
    }
    for name in printed.split():
        parts = name.removeprefix("ppdsim.").split(".")
        file = package.joinpath(*parts)
        file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        assert file in covered or ".".join(parts) in harmless, name
