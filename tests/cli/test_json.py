"""Every command has --json; what it prints is one document of its published schema, and so is an error."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
import typer
from crossover_cases import against
from fit.grids import MANIFEST
from machine.machines import FakeMachine

from ppdsim import measurements
from ppdsim.cli.app import app, run
from ppdsim.cli.documents import SCHEMAS
from ppdsim.cli.run_folder import RECORD, RESULT_FILES
from ppdsim.des.cluster import Cluster
from ppdsim.engines.sglang.standin import stack
from ppdsim.machine import host as machine

COMMANDS = typer.main.get_command(app).commands
SAMPLES = Path(__file__).parents[1] / "engines/sglang/records/samples"
TURNS = (
    '{"conversation_id": 1, "turn": 0, "arrival_s": 0.0, "new_tokens": 100, "output_tokens": 4}\n'
    '{"conversation_id": 1, "turn": 1, "think_s": 1.0, "new_tokens": 30, "output_tokens": 4}\n'
)
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 2, "hidden_size": 512, "intermediate_size": 1024, "vocab_size": 1000,
    "max_position_embeddings": 4096, "torch_dtype": "bfloat16",
}  # fmt: skip
SMALL = ("total_tokens=[8192]", "cache_rates=[0.5]", "turns=10", "draws=2")
QUESTION = [f"--set=crossover.{setting}" for setting in SMALL] + [f"--set={setting}" for setting in against("nvlink")]
PLAYED = ["--trace", "t.jsonl", "-o", "out"]
CARRIED = ["--set", "workload.conversations=4", "--seeds", "1", "--tolerance", "1"]
ANSWERS = {
    "crossover": ["cache-rate", *QUESTION, "-o", "out"],
    "validate": ["h200", "measured", "-o", "out"],
    "simulate": ["one-pair", *PLAYED],
    "simulate, several policies": ["one-pair", *PLAYED, "--policy", "always-p", "--policy", "cost-aware"],
    "simulate, alternatives": ["pd-ratio", "--set", "workload.conversations=4", "--set", "seeds=2", "-o", "out"],
    "sweep": ["one-pair", *PLAYED, "--grid", "transport=nvlink,tcp", "--seeds", "1", "--jobs", "1"],
    "report": ["drawn"],
    "capacity": ["one-pair", "--set", "workload.conversations=4", "--seeds", "1", "--tolerance", "0.5", "-o", "out"],
    "capacity, alternatives": ["pd-ratio", *CARRIED, "-o", "out"],
    "calibrate": ["--model", "model", "--unified-url", "http://127.0.0.1:1", "--dry-run", "-o", "out"],
    "doctor": [],
    "serve": ["--model", "model", "--unified-gpu", "0", "--dry-run"],
    "fake-stack": [],
    "scenarios": [],
    "profiles": [],
    "show": ["h200"],
    "predict": ["h200", "--points", "points.csv"],
    "derive": ["h200", "--gpu", "H100-SXM", "-o", "derived.json"],
    "import": ["unified.log", "--manifest", "manifest.json", "-o", "out"],
    "fit": ["h200.json", "--anchor", "probes.csv", "-o", "fitted.json"],
    "schema": [],
}
"""Arguments that give an answer in little time, by command."""
FILES = {
    "crossover.json": "crossover",
    "formulas-only.json": "crossover",
    "validation.json": "validate",
    "summary.json": "simulate",
    "policies.json": "simulate",
    "alternatives.json": "simulate",
    "sweep.json": "sweep",
    "capacity.json": "capacity",
    "capacities.json": "capacity",
    "profile.json": "profile",
    "derived.json": "profile",
    "fitted.json": "profile",
    "manifest.json": "measurements",
    "wire.json": "wire",
}
"""The schema of each JSON file that a command leaves, by the file's name."""


@pytest.fixture(scope="module")
def few_decodes(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    folder = tmp_path_factory.mktemp("few") / "measured"
    _few_decodes(repository / "calibration/measurements/h100x2_llama-3.1-8b_sglang-0.5.17", folder)
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_decodes: Path) -> Path:
    """Stand in a folder that has whatever the commands of the table ask for."""
    from ppdsim import library

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "ThisMachine", FakeMachine)
    monkeypatch.setattr(stack, "FakeStack", _EndedStack)
    (tmp_path / "t.jsonl").write_text(TURNS)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "points.csv").write_text("kind,cached_tokens,new_tokens\nprefill,4096,256\nprefill,0,64\n")
    (tmp_path / "probes.csv").write_text("cached_tokens,new_tokens,ttft_s\n0,64,0.0162\n0,64,0.0164\n1024,64,0.0163\n")
    (tmp_path / "h200.json").symlink_to(library.find("profile", "h200"))
    shutil.copytree(few_decodes, tmp_path / "measured")
    (tmp_path / "unified.log").symlink_to(SAMPLES / "unified.log")
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    return tmp_path


def _few_decodes(source: Path, folder: Path) -> None:
    """Write a run that measured three steps of decoding."""
    rows = [row.model_dump_json() + "\n" for row in measurements.read(source).decode[:3]]
    manifest = json.loads((source / "manifest.json").read_text())
    manifest |= {"points_file": "points.jsonl", "points_sha256": hashlib.sha256("".join(rows).encode()).hexdigest()}
    folder.mkdir()
    (folder / "points.jsonl").write_text("".join(rows))
    (folder / "manifest.json").write_text(json.dumps(manifest))


class _EndedStack:
    """A stack of one server that has ended."""

    def __init__(self, options: object) -> None:
        self.urls = {"unified": "http://127.0.0.1:1"}
        self.processes = {"unified": SimpleNamespace(pid=1)}

    def __enter__(self) -> _EndedStack:
        return self

    def __exit__(self, *_: object) -> None: ...

    def ended(self) -> dict[str, int]:
        return {"unified": 0}


def printed_by(command: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:
    code = run([command, *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def published(name: str) -> dict:
    schema = SCHEMAS[name][1]()
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


def test_every_command_has_json_a_schema_and_a_case() -> None:
    assert {name for name, found in COMMANDS.items() if any("--json" in p.opts for p in found.params)} == set(COMMANDS)
    assert set(COMMANDS) <= set(SCHEMAS)
    assert {name.split(",")[0] for name in ANSWERS} == set(COMMANDS)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_one_document_of_its_schema(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = name.split(",")[0]
    if command == "report":
        assert run(["capacity", *ANSWERS["capacity"][:-1], "drawn", "-q"]) == 0
        capsys.readouterr()
    before = {path for path in place.rglob("*.json") if path.is_file()}
    code, document = printed_by(command, ANSWERS[name], capsys)
    assert code == 0, document
    assert_described(document, command)
    for path in {path for path in place.rglob("*.json") if path.is_file()} - before:
        if path.name != RECORD and path.parent.name != "rows":
            assert_file_described(path)


def assert_described(document: object, command: str) -> None:
    """Assert that a document is of the published schema of a command, with every key that it names and no other."""
    schema = published(command)
    jsonschema.validate(document, schema)
    one = document[0] if isinstance(document, list) else document
    assert set(one) in [set(kind["required"]) for kind in kinds(schema)], "describe it in ppdsim/cli/documents.py"


def assert_error(stdout: str, kind: str, exit_code: int) -> None:
    """Assert that what was printed is one document of the schema of errors, of this kind and exit code."""
    document = json.loads(stdout)
    assert_described(document, "error")
    assert document["error"] | {"message": ""} == {"kind": kind, "exit_code": exit_code, "message": ""}
    assert document["error"]["message"]


def assert_file_described(path: Path) -> None:
    """Assert that a JSON file is of the published schema of files of its name."""
    assert path.name in FILES, f"{path.name}: name its schema in FILES"
    schema = SCHEMAS[FILES[path.name]][1]()
    document = json.loads(path.read_text())
    if path.name == "manifest.json":
        jsonschema.validate(document, schema["manifest"])
    elif FILES[path.name] == "profile":
        jsonschema.validate(document, schema)
    else:
        assert_described(document, FILES[path.name])


def test_every_json_file_among_the_results_has_a_schema() -> None:
    assert {name for name in RESULT_FILES if name.endswith(".json")} <= set(FILES)
    assert set(FILES.values()) <= set(SCHEMAS)


def kinds(schema: dict) -> list[dict]:
    """Return the objects that a document, or an item of it, may be."""
    found = [kind.get("items", kind) for kind in schema["anyOf"]]
    return [schema["$defs"][kind["$ref"].rsplit("/", 1)[1]] if "$ref" in kind else kind for kind in found]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_error_is_one_document_too(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--json", "--no-such-option"]) == 2
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    jsonschema.validate(document, published("error"))
    assert document["error"]["kind"] == "UsageError"
    assert document["error"]["exit_code"] == 2
    assert printed.err == f"error: {document['error']['message']}\n"


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        (["simulate", "no-such"], "UnknownNameError", 2),
        (["show", "absent.json"], "UnknownNameError", 2),
        (["capacity", "one-pair", "--set", "gamma=1"], "ScenarioError", 2),
        (["validate", "h200", "absent"], "MeasurementError", 2),
    ],
)
def test_an_error_says_its_kind(arguments, kind, code, place, capsys) -> None:
    found, document = printed_by(arguments[0], arguments[1:], capsys)
    assert found == code
    assert document["error"] | {"message": ""} == {"kind": kind, "exit_code": code, "message": ""}


def test_a_gate_that_failed_leaves_the_answer_alone(place, capsys) -> None:
    code, document = printed_by("capacity", [*ANSWERS["capacity"], "--slo", "ttft_ms=0.001"], capsys)
    assert code == 1
    jsonschema.validate(document, published("capacity"))


def test_an_unfit_machine_leaves_the_answer_alone(place, capsys, monkeypatch) -> None:
    monkeypatch.setattr(machine, "ThisMachine", lambda: FakeMachine(cards=(), driver_version=None, lanes={}, values={}))
    code, document = printed_by("doctor", [], capsys)
    assert code == 3
    assert document["failed"]
    jsonschema.validate(document, published("doctor"))


def test_ctrl_c_is_a_document(place, capsys, monkeypatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Cluster, "_finished", stop)
    code, document = printed_by("simulate", ANSWERS["simulate"], capsys)
    assert code == 130
    assert document["error"] == {"kind": "Interrupted", "message": "interrupted", "exit_code": 130}


def test_without_json_stdout_stays_empty_where_a_command_fails(capsys) -> None:
    assert run(["show", "h300"]) == 2
    assert not capsys.readouterr().out
    assert run(["serve", "--dry-run", "--", "--json"]) == 2
    assert not capsys.readouterr().out


def test_the_schemas_are_listed(capsys) -> None:
    assert run(["schema"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(SCHEMAS)
    for name in ("measurements", "profile", "scenario"):
        assert run(["schema", name]) == 0
        jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))
