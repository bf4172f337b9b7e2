"""Servers that are up and not under test are in the manifest."""

from __future__ import annotations

from dataclasses import replace

from measure.standins import FULL_TCP, MACHINE, UNIFIED, service
from virtual_loop import run_virtually

from ppdsim.measure.calibrate import measure
from ppdsim.measure.plan import load_plan
from ppdsim.measurements import read_manifest

PLAN = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0], new_tokens: [64]}
handoff: {cached_tokens: [0], new_tokens: [64]}
repeats: {least: 1, most: 1, half_width: 0.02}
"""


def notes_of(tmp_path, *, running, sleeping):
    def spoil(engine):
        original = engine.servers

        async def servers():
            flags = {"decode": {"sleep_on_idle": sleeping}}
            return {role: replace(info, flags=flags.get(role, {})) for role, info in (await original()).items()}

        engine.servers = servers

    (tmp_path / "tiny.yaml").write_text(PLAN)
    services = [
        replace(service(*arm, spoil=spoil), name=name, starts_servers=not running)
        for arm, name in ((UNIFIED, "unified"), (FULL_TCP, "pair"))
    ]
    plan = load_plan(str(tmp_path / "tiny.yaml"))
    measure(plan, services, MACHINE, tmp_path / "run", resume=False, show_line=lambda _: None, runner=run_virtually)
    return [note for note in read_manifest(tmp_path / "run").notes if "idle" in note]


def test_servers_of_the_other_services_were_idle(tmp_path):
    assert notes_of(tmp_path, running=True, sleeping=True) == [
        "unified: pair, prefill was up and idle; its engine has no sleep_on_idle",
        "unified: pair, decode was up and idle; it sleeps when idle",
        "pair: unified was up and idle; its engine has no sleep_on_idle",
    ]


def test_one_that_spins_is_said_to(tmp_path):
    assert "unified: pair, decode was up and idle; it spins when idle: sleep_on_idle is off" in notes_of(
        tmp_path, running=True, sleeping=False
    )


def test_a_run_that_starts_its_servers_has_no_idle_ones(tmp_path):
    assert not notes_of(tmp_path, running=False, sleeping=False)
