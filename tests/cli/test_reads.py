"""Every option of ``calibrate`` and ``serve`` in every kind of call: it changes what is done, or is refused by name."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from machine.machines import FakeMachine

from ppdsim.cli.app import app, run
from ppdsim.cli.reads import CALIBRATE, FAKE_STACK, SERVE, OptionTable
from ppdsim.engines.launch.first_request import FirstRequest
from ppdsim.engines.launch.specs import endpoints_of
from ppdsim.engines.launch.stack import Progress
from ppdsim.engines.sglang.launcher import launcher
from ppdsim.engines.sglang.standin import stack as stand_ins
from ppdsim.machine import hardware
from ppdsim.machine import host as machine
from ppdsim.measure import managed_services as started
from ppdsim.measure import service as joined

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
PLAN = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0], new_tokens: [64]}
handoff: {cached_tokens: [0], new_tokens: [64]}
decode: {batch: [1], prompt_tokens: [256]}
transfer: {size_bytes: [65536], blocks: [1]}
repeats: {least: 1, most: 1, half_width: 0.5}
"""
URLS = {name: f"http://127.0.0.1:{number}" for number, name in enumerate(("unified", "router", "prefill", "decode"), 1)}
PAIR_URLS = tuple(word for name in ("router", "prefill", "decode") for word in (f"--{name}-url", URLS[name]))
PAIR = ("--prefill-gpu", "0", "--decode-gpu", "1")
MODEL = ("--model", "model")
CALIBRATE_CALLS: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {
    "transfer": (frozenset({"transfer"}), ("--only", "transfer")),
    "joined unified": (
        frozenset({"servers", "joined", "unified"}),
        (*MODEL, "--unified-url", URLS["unified"]),
    ),
    "joined pair": (frozenset({"servers", "joined", "pair"}), (*MODEL, *PAIR_URLS)),
    "joined both": (
        frozenset({"servers", "joined", "pair", "unified"}),
        (*MODEL, "--unified-url", URLS["unified"], *PAIR_URLS),
    ),
    "started unified": (frozenset({"servers", "started", "unified"}), (*MODEL, "--unified-gpu", "0")),
    "started pair": (frozenset({"servers", "started", "pair"}), (*MODEL, *PAIR)),
    "started both": (
        frozenset({"servers", "started", "pair", "unified"}),
        (*MODEL, *PAIR, "--unified-gpu", "1"),
    ),
}
CALIBRATE_OPTIONS: dict[str, tuple[str, ...]] = {
    "engine": ("--engine", "another"),
    "out": ("-o", "another"),
    "model": ("--model", "larger"),
    "plan": ("--plan", "smaller.yaml"),
    "unified_url": ("--unified-url", "http://127.0.0.1:5"),
    "router_url": ("--router-url", "http://127.0.0.1:5"),
    "prefill_url": ("--prefill-url", "http://127.0.0.1:5"),
    "decode_url": ("--decode-url", "http://127.0.0.1:5"),
    "api_key_env": ("--api-key-env", "KEY_OF_A_TEST"),
    "prefill_gpu": ("--prefill-gpu", "1"),
    "decode_gpu": ("--decode-gpu", "0"),
    "unified_gpu": ("--unified-gpu", "2"),
    "settings": ("--settings", "stack.yaml"),
    "assign": ("--set", "environment.A=b"),
    "cpu_pin": ("--cpu-pin", "nonsense"),
    "transport": ("--transport", "nvlink"),
    "decode_radix": ("--decode-radix",),
    "dummy_weights": ("--dummy-weights",),
    "only": ("--only", "transfer"),
    "gpus": ("--gpus", "1,0"),
    "budget_s": ("--budget-s", "77"),
    "name": ("--name", "another"),
    "resume": ("--resume",),
    "measure_only": ("--measure-only",),
    "dry_run": ("--dry-run",),
    "json": ("--json",),
    "quiet": ("--quiet",),
}
SERVE_CALLS: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {
    "stop": (frozenset({"stop"}), ("--stop", "logs")),
    "unified": (frozenset({"started", "unified"}), (*MODEL, "--unified-gpu", "0")),
    "pair": (frozenset({"started", "pair"}), (*MODEL, *PAIR)),
    "both": (
        frozenset({"started", "pair", "unified"}),
        (*MODEL, *PAIR, "--unified-gpu", "2"),
    ),
}
SERVE_OPTIONS: dict[str, tuple[str, ...]] = {
    "engine": ("--engine", "another"),
    "model": ("--model", "larger"),
    "prefill_gpu": ("--prefill-gpu", "4"),
    "decode_gpu": ("--decode-gpu", "5"),
    "unified_gpu": ("--unified-gpu", "6"),
    "tp": ("--tp", "2"),
    "transport": ("--transport", "tcp"),
    "use_tcp": ("--use-tcp",),
    "decode_radix": ("--decode-radix",),
    "dummy_weights": ("--dummy-weights",),
    "max_total_tokens": ("--max-total-tokens", "4096"),
    "mem_fraction": ("--mem-fraction", "0.5"),
    "router": ("--router", "mini-lb"),
    "cpu_pin": ("--cpu-pin", "nonsense"),
    "engine_flag": ("--engine-flag=--sleep-on-idle",),
    "engine_program": ("--engine-program", "another"),
    "settings": ("--settings", "stack.yaml"),
    "assign": ("--set", "environment.A=b"),
    "log_dir": ("--log-dir", "another"),
    "api_key_env": ("--api-key-env", "KEY_OF_A_TEST"),
    "keep_running": ("--keep-running",),
    "stop": ("--stop", "others"),
    "dry_run": ("--dry-run",),
    "json": ("--json",),
    "quiet": ("--quiet",),
    "flags": ("--", "--sleep-on-idle"),
}


FAKE_STACK_CALLS: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {
    "pd": (frozenset({"pd"}), ("--mode", "pd")),
    "unified": (frozenset({"unified"}), ("--mode", "unified")),
}
FAKE_STACK_OPTIONS: dict[str, tuple[str, ...]] = {
    "profile": ("--profile", "h100x2_llama-3.1-8b_sglang-0.5.17"),
    "mode": ("--mode", "pd"),
    "router": ("--router", "none"),
    "port_base": ("--port-base", "31000"),
    "time_scale": ("--time-scale", "2"),
    "transport": ("--transport", "nvlink"),
    "kv_transfer": ("--kv-transfer", "mooncake"),
    "decode_radix": ("--decode-radix",),
    "kv_pool_tokens": ("--kv-pool-tokens", "4096"),
    "fault": ("--fault", "kill"),
    "json": ("--json",),
}
TABLES: dict[str, tuple[OptionTable, dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "calibrate": (CALIBRATE, CALIBRATE_CALLS, CALIBRATE_OPTIONS, ("--plan", "tiny.yaml", "-o", "out")),
    "serve": (SERVE, SERVE_CALLS, SERVE_OPTIONS, ()),
    "fake-stack": (FAKE_STACK, FAKE_STACK_CALLS, FAKE_STACK_OPTIONS, ()),
}
"""By command: its table, its kinds of calls, another value of each option, and what every call here has."""
KINDS = frozenset(
    {
        *("only", "stop", "unified_url", "router_url", "prefill_url", "decode_url"),
        *("prefill_gpu", "decode_gpu", "unified_gpu", "mode"),
    }
)
"""Options that make another kind of call of this one: what is read is then another question."""


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Set up a folder to be called in, and record what would be measured or started, in place of doing it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY_OF_A_TEST", "k")
    for name, layers in (("model", 32), ("larger", 64)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": layers}))
    (tmp_path / "tiny.yaml").write_text(PLAN)
    (tmp_path / "smaller.yaml").write_text(PLAN.replace("65536", "1048576").replace("64]", "128]"))
    (tmp_path / "stack.yaml").write_text("environment: {C: d}\n")
    found: list[object] = []
    # Built and read anew, they would be most of the test's time.
    commands, known = typer.main.get_command(app), hardware.gpus()
    monkeypatch.setattr("typer.main.get_command", lambda _: commands)
    monkeypatch.setattr("ppdsim.machine.hardware.gpus", lambda: known)
    monkeypatch.setattr(machine, "ThisMachine", lambda: FakeMachine(folders={}))
    monkeypatch.setattr("ppdsim.extras.require", lambda *_, **__: None)

    def record(name: str, result: object) -> Any:
        def call(*arguments: object, **options: object) -> object:
            shown = {key: value for key, value in options.items() if key not in ("show_line", "progress")}
            keys = [getattr(one, "key", None) for one in arguments]
            # A function's address is no difference, and an endpoint does not show its key.
            found.append((name, keys, [re.sub(" at 0x[0-9a-f]+", "", repr(one)) for one in (*arguments, shown)]))
            return result

        return call

    def recorded(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: object, **options: object) -> object:
            record(name, None)(*arguments, **options)
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    recorded(joined, "joined")
    recorded(started, "started")

    def layout(*arguments: object) -> object:
        record("layout", None)(*arguments)
        return real.layout(*arguments)

    real = launcher.LAUNCHER
    monkeypatch.setattr(launcher, "LAUNCHER", replace(real, layout=layout))
    answered = FirstRequest(ttft_s=1.0, tpot_s=1.0, e2e_s=1.0, prompt_tokens=1, output_tokens=1, kv_transfer_s=None)
    for place, result in {
        "measure.expected_limits.asked": SimpleNamespace(limits=SimpleNamespace()),
        "measure.calibrate.fit": None,
        "measure.estimate.reference": None,
        "measure.transfer.calibrate_transfer": ([], "words"),
        "engines.launch.first_request.first_request": answered,
        "engines.launch.state.stop": [SimpleNamespace(name="unified-0", pid=7)],
    }.items():
        monkeypatch.setattr(f"ppdsim.{place}", record(place, result))
    monkeypatch.setattr("ppdsim.cli.calibrate._report", record("report", []))
    monkeypatch.setattr("ppdsim.cli.calibrate._print_plan", record("plan", None))

    def measure(plan: object, services: Any, machine: object, out: Path, **options: Any) -> object:
        notes = [(one.name, one.arms, one.notes) for one in services]
        found.append(("measure", plan, notes, machine, out, options["resume"], options["links"]))
        return SimpleNamespace(seconds={"probes": 1.0})

    monkeypatch.setattr("ppdsim.measure.calibrate.measure", measure)

    class FakeStack:
        def __init__(self, specs: Any, **options: object) -> None:
            found.append(("stack", specs, sorted((k, v) for k, v in options.items() if k != "progress")))
            self._progress: Any = options["progress"]
            self.servers = {spec.name: SimpleNamespace(popen=SimpleNamespace(pid=8)) for spec in specs}
            self.urls = {spec.name: spec.url for spec in specs}
            self.endpoints = endpoints_of(specs)

        def __enter__(self) -> FakeStack:
            self._progress(Progress(name="a server", phase="starting"))
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def failure(self) -> None:
            pass

    monkeypatch.setattr("ppdsim.engines.launch.stack.Stack", FakeStack)

    def start(self: Any, role: str, command: object) -> None:
        found.append((role, command))
        self.urls[role] = f"http://127.0.0.1:{self._ports[role]}"
        self.processes[role] = SimpleNamespace(pid=9, poll=lambda: 0, returncode=0, wait=lambda: 0)

    monkeypatch.setattr(stand_ins.FakeStack, "_start", start)
    monkeypatch.setattr(stand_ins.FakeStack, "_wait", lambda *_: None)
    return found


def parameters(command: str) -> set[str]:
    given = typer.main.get_command(app).commands[command].params
    return {one.name for one in given} - {"help"}


@pytest.mark.parametrize("command", TABLES)
def test_every_option_and_every_kind_of_call_has_a_row(command: str) -> None:
    table, calls, options, _ = TABLES[command]
    assert parameters(command) == set(table.options) == set(options)
    assert {facets for facets, _ in calls.values()} == set(table.calls)


@pytest.mark.parametrize(
    ("command", "call"), [(command, call) for command, (_, calls, _, _) in TABLES.items() for call in calls]
)
def test_every_option_changes_what_is_done_or_is_refused_by_name(
    command: str, call: str, seen: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    table, calls, options, common = TABLES[command]
    facets, base = calls[call]

    def done(*more: str) -> tuple[int, str, str, list[object]]:
        seen.clear()
        code = run([command, *common, *base, *more])
        output = capsys.readouterr()
        return code, output.out, output.err, list(seen)

    without = done()
    assert without[0] == 0, without[2]
    for option, words in options.items():
        if set(words) <= set(base):
            continue
        code, out, err, did = done(*words)
        assert (code, out, err, did) != without, option
        name = {"flags": "FLAGS", "out": "--out"}.get(option, words[0].split("=")[0])
        if code != 0:
            assert code == 2, (option, err)
            assert name in err, (option, err)
            assert err.startswith("error: "), (option, err)
            assert err.count("\n") == 1, (option, err)
            assert not did or all(each[0] in ("layout", "started", "joined") for each in did), option
        if not table.reads(option, facets) and option not in KINDS:
            assert "not read where" in err or "belong together" in err, (option, err)


def test_several_that_are_not_read_are_named_in_one_line(
    seen: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--settings", "/nonexistent", "--set", "nosuchkey=1", "--prefill-gpu", "7", "--cpu-pin", "nonsense")
    assert run(["calibrate", "-o", "out", *MODEL, "--unified-url", URLS["unified"], *more, "--dry-run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "error: --prefill-gpu, --settings, --set, --cpu-pin: not read where --unified-url joins a server that runs "
        "already; for servers that ppdsim starts: --prefill-gpu with --decode-gpu, or --unified-gpu, and no URL"
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("model=larger", "--set model: an option of this call gives model already"),
        ("decode_radix=true", "--set decode_radix: not read here, D is started with a prefix cache and without one"),
        ("unified_flags=--x", "--set unified_flags: not read by the servers of this call; for a unified server"),
    ],
)
def test_settings_that_a_calibration_does_not_read_are_refused(
    more: str, said: str, seen: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["calibrate", "--plan", "tiny.yaml", "-o", "out", *MODEL, *PAIR, "--set", more, "--dry-run"]) == 2
    assert said in capsys.readouterr().err


def test_a_link_s_gpus_are_refused_where_the_plan_measures_none(
    seen: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Path("tiny.yaml")
    plan.write_text("".join(line for line in PLAN.splitlines(True) if not line.startswith("transfer")))
    assert run(["calibrate", "--plan", "tiny.yaml", "-o", "out", *MODEL, *PAIR, "--gpus", "0,1", "--dry-run"]) == 2
    assert "--gpus 0,1: plan 'tiny' measures no link alone" in capsys.readouterr().err


def test_the_profile_says_of_the_weights_what_the_settings_start(seen: list[object]) -> None:
    call = ["calibrate", "--plan", "tiny.yaml", "-o", "out", *MODEL, "--unified-gpu", "0"]
    assert run([*call, "--set", "dummy_weights=true"]) == 0
    (measured,) = (one for one in seen if one[0] == "measure")
    assert measured[3].model.weights.startswith("random")
