"""A new engine is one folder and one registry line: a toy of two files is calibrated, and its profile simulated."""

from __future__ import annotations

import pytest
from engines.toy import Toy
from engines.toy.server import CHUNK_TOKENS
from measure.standins import MACHINE
from virtual_loop import run_virtually

from ppdsim import compose, measurements, profile
from ppdsim.cli.app import run
from ppdsim.engine_record import ChunkRule
from ppdsim.engines import ENGINES
from ppdsim.engines.client import Endpoints
from ppdsim.errors import InputError
from ppdsim.measure.calibrate import fit, measure
from ppdsim.measure.plan import load_plan
from ppdsim.measure.service import joined
from ppdsim.scenario import load
from ppdsim.simulation.run import simulate
from ppdsim.types import Transport


@pytest.fixture(scope="module", autouse=True)
def toy():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ENGINES, "_entries", {**ENGINES, "toy": Toy()})
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "run"
    endpoints = Endpoints(entry="http://toy", servers=(("unified", "http://toy"),))
    service = joined(ENGINES["toy"], endpoints, transport=Transport.NONE, decode_radix=False)
    measure(load_plan("quick"), [service], MACHINE, path, resume=False, show_line=str, runner=run_virtually)
    fit(path, show_line=str, draws=5)
    return path


@pytest.fixture(scope="module")
def fitted(folder):
    return profile.load(folder / "profile.json")


def test_the_toy_is_small_and_knows_no_other_engine(repository):
    files = [path.read_text() for path in (repository / "tests" / "engines" / "toy").glob("*.py")]
    assert sum(len(text.splitlines()) for text in files) < 200
    assert not any("engines.sglang" in text for text in files)


def test_every_cell_of_the_plan_is_measured(folder):
    found = measurements.read(folder)
    assert (found.manifest.engine, found.manifest.engine_version) == ("toy", "1.0")
    assert not found.refused
    assert not (folder / "skipped.jsonl").exists()
    assert min(map(len, (found.prefill, found.decode, found.interference))) > 5


def test_the_profile_records_the_toy_and_its_curves_have_its_sizes(fitted):
    assert fitted.engine == Toy().record("1.0")
    assert fitted.engine.chunk_rule is ChunkRule.MIXED_STEPS
    assert compose.central(fitted).prefill.graph_sizes_tokens == (64, 512, CHUNK_TOKENS)


def test_the_profile_is_simulated_by_the_toys_rules(folder, fitted, tmp_path):
    """Its streams get a token in every step with prompts; by SGLang's rules they wait, often for several forwards."""
    profile.save(fitted.model_copy(update={"engine": ENGINES["sglang"].record("0.5.17")}), tmp_path / "sglang.json")
    mixed, separate = (
        simulate(load("one-unified", [f"profile={path}"]), seed=0)
        for path in (folder / "profile.json", tmp_path / "sglang.json")
    )
    assert len(mixed) == len(separate) > 100
    assert mixed.itl_gaps_s.max() < 0.8 * separate.itl_gaps_s.max()


def test_a_fleet_that_the_toy_has_no_scheduler_for_is_one_line(folder):
    pair = ["fleet=[{role: P, count: 1}, {role: D, count: 1}]", "transport=tcp", "routing.policy=always-p"]
    with pytest.raises(InputError, match="Toy has no prefill servers"):
        simulate(load("one-unified", [f"profile={folder / 'profile.json'}", *pair]), seed=0)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["serve", "--model", "m", "--unified-gpu", "0"], "--engine: not given, expected sglang or toy"),
        (["doctor", "--engine", "tyo"], "--engine tyo: no such engine, expected sglang or toy; did you mean 'toy'?"),
        (["doctor", "--engine", "toy"], "engine toy: ppdsim has no checks for it"),
        (
            ["serve", "--engine", "toy", "--model", "m", "--unified-gpu", "0"],
            "engine toy: ppdsim does not start its servers; give the URLs of running ones",
        ),
        (
            ["calibrate", "--engine", "toy", "--model", "m", "-o", "out", "--decode-url", "http://127.0.0.1:1"],
            "--decode-url: not read for servers of Toy, expected --unified-url",
        ),
        (
            ["calibrate", "--engine", "toy", "--only", "transfer", "-o", "out"],
            "--only transfer: ppdsim does not measure the link of Toy without servers",
        ),
    ],
)
def test_a_command_that_needs_what_it_has_not_says_so(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ppdsim.measure.machine.describe_machine", lambda *_, **__: MACHINE)
    assert run(words) == 2
    assert capsys.readouterr().err == f"error: {line}\n"
    assert not any(tmp_path.iterdir())


def test_stand_ins_are_those_of_the_profile_s_engine(folder, capsys):
    assert run(["fake-stack", "--profile", str(folder / "profile.json")]) == 2
    assert capsys.readouterr().err == "error: engine toy: ppdsim has no stand-in for it\n"


@pytest.mark.parametrize(
    ("urls", "line"),
    [
        (["--prefill-url"], "--prefill-url and --decode-url belong together: give both or none"),
        (["--router-url", "--decode-url"], "--router-url: not read for servers of Toy, expected --prefill-url and"),
    ],
)
def test_a_pair_without_a_router_is_joined_by_two_addresses(urls, line, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Toy, "pair_urls", ("prefill", "decode"))
    monkeypatch.setattr("ppdsim.measure.machine.describe_machine", lambda *_, **__: MACHINE)
    addresses = [word for url in urls for word in (url, "http://127.0.0.1:1")]
    assert run(["calibrate", "--engine", "toy", "--model", "m", "-o", str(tmp_path / "out"), *addresses]) == 2
    assert capsys.readouterr().err.startswith(f"error: {line}")
