"""Every key of the settings, for every kind of servers: it changes what is started, or is named as unread."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ppdsim.engines.launch.settings_file import load_settings, refuse_unread, unread_of_file
from ppdsim.engines.launch.specs import Host
from ppdsim.engines.sglang.launcher.layout import layout
from ppdsim.engines.sglang.launcher.settings import Ports, Settings
from ppdsim.engines.sglang.launcher.unread import unread
from ppdsim.errors import InputError

HOST = Host(cores=tuple(range(16)), nvlink_lanes={(0, 1): 18})
PAIR: dict[str, Any] = {"prefill_gpus": (0,), "decode_gpus": (1,)}
LAYOUTS: dict[str, dict[str, Any]] = {
    "unified": {"unified_gpus": (2,)},
    "pair": PAIR,
    "both": {**PAIR, "unified_gpus": (2,)},
    "mini-lb": {**PAIR, "router": "mini-lb"},
    "dummy": {**PAIR, "dummy_weights": True},
}
OTHERS: dict[str, Any] = {
    "model": "another",
    "prefill_gpus": (4,),
    "decode_gpus": (5,),
    "unified_gpus": (6,),
    "tp": 3,
    "transport": "tcp",
    "ib_device": "mlx5_0",
    "decode_radix": True,
    "dummy_weights": True,
    "max_total_tokens": 4096,
    "mem_fraction_static": 0.5,
    "trust_remote_code": False,
    "metrics": False,
    "router": "mini-lb",
    "host": "127.0.0.2",
    "cpu_pin": "auto",
    "engine_program": ("engine",),
    "router_program": ("router",),
    "engine_flags": ("--a",),
    "prefill_flags": ("--a",),
    "decode_flags": ("--a",),
    "unified_flags": ("--a",),
    "router_flags": ("--a",),
    "environment": {"A": "b"},
    "start_timeout_s": 77.0,
    "stop_timeout_s": 77.0,
    **{f"ports.{name}": 40_000 + number for number, name in enumerate(Ports.model_fields)},
}
REASONS = {
    "start_timeout_s": "how long the stack waits for each server; a real router is told of it too",
    "stop_timeout_s": "how long the stack waits between SIGTERM and SIGKILL",
}
"""Keys that bound a wait of the stack and change no command."""


def test_every_key_has_another_value_here() -> None:
    keys = {*Settings.model_fields, *(f"ports.{name}" for name in Ports.model_fields)} - {"ports"}
    assert keys == set(OTHERS)


def refusal(settings: Settings) -> str | None:
    try:
        layout(settings, HOST)
    except InputError as problem:
        return str(problem)
    return None


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_key_changes_what_is_started_or_is_named(name: str) -> None:
    base = Settings(model="m", **LAYOUTS[name])
    before = layout(base, HOST)
    for key, value in OTHERS.items():
        if LAYOUTS[name].get(key) == value:
            continue
        leaf = key.partition(".")[2]
        update = {"ports": base.ports.model_copy(update={leaf: value})} if leaf else {key: value}
        changed = base.model_copy(update=update)
        refused = refusal(changed)
        if refused is not None:
            assert key.replace("_gpus", "-gpu") in refused, (key, refused)
            continue
        differs = layout(changed, HOST) != before
        named = key in unread([key], changed)
        assert differs != named or key in REASONS, (key, differs, named)


def test_what_is_set_for_this_call_is_refused_and_what_a_file_says_is_named(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    path.write_text("model: m\nunified_gpus: [0]\nprefill_flags: --a\nports: {router: 31000, unified: 31300}\n")
    found = load_settings(Settings, path, {})

    def not_read(keys: Iterable[str]) -> dict[str, str]:
        return unread(keys, found)

    line = unread_of_file(path, not_read, instead={"model": "--model says it"})
    assert line == f"{path}: not read by this call: model, prefill_flags, ports.router"
    assert unread_of_file(path, not_read, instead={}) != line
    for text in ("prefill_flags=--b", "ports.router=31001", "ports={router: 31001}"):
        with pytest.raises(InputError, match=r"--set (prefill_flags|ports.router): not read by the servers of this"):
            refuse_unread([text], not_read, instead={})
    refuse_unread(["ports.unified=31301", "tp=1"], not_read, instead={})


def test_an_option_and_an_assignment_of_one_key_are_refused() -> None:
    with pytest.raises(InputError, match="--set tp: an option of this call gives tp already"):
        load_settings(Settings, None, {"model": "m", "tp": 4}, ["tp=2"])
