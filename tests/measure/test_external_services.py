"""A calibration on servers that run already, through the real router: what hangs is aborted, named and skipped."""

from __future__ import annotations

import json
import sys
import urllib.request

import pytest
from measure.standins import MACHINE

from ppdsim.engines import ENGINES
from ppdsim.engines.client import Endpoints
from ppdsim.engines.sglang.standin.stack import FakeStack
from ppdsim.engines.stand_in import StackOptions
from ppdsim.errors import EnvironmentProblem
from ppdsim.measure.calibrate import measure
from ppdsim.measure.journal import POINTS, SKIPPED, read_rows
from ppdsim.measure.plan import load_plan
from ppdsim.measure.prefill import OUTPUT_TOKENS
from ppdsim.measure.service import joined
from ppdsim.types import Transport

PLAN = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0], new_tokens: [64]}
handoff: {cached_tokens: [0], new_tokens: [64, 256]}
repeats: {least: 1, most: 3, half_width: 0.5}
passes: 1
"""


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(PLAN)
    return load_plan(str(path))


def pair_of(urls, *, entry=None):
    servers = (("prefill", urls["prefill"]), ("decode", urls["decode"]))
    endpoints = Endpoints(entry=entry or urls["router"], servers=servers)
    return joined(ENGINES["sglang"], endpoints, transport=Transport.TCP, decode_radix=False)


@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_a_hand_off_that_hangs_in_bootstrap_is_skipped_and_measured_again(plan, tmp_path, require, monkeypatch, role):
    require("python:aiohttp")
    require("python:sglang_router")
    monkeypatch.setattr("ppdsim.measure.prefill.TIMEOUT_S", 2.0)
    lines = []
    with FakeStack(StackOptions(mode="pd", router="real", transport=Transport.TCP)) as stack:

        def show_line(text):
            lines.append(text)
            if "round 1" in text:
                # The first measured turn hangs: P waits for D's pages, or D for P's KV.
                body = json.dumps({"name": "hang", "times": 1}).encode()
                address = f"{stack.urls[role]}/fault"
                request = urllib.request.Request(address, body, {"Content-Type": "application/json"})  # noqa: S310
                urllib.request.urlopen(request, timeout=5.0).close()  # noqa: S310

        measure(plan, [pair_of(stack.urls)], MACHINE, tmp_path / "run", resume=False, show_line=show_line)
    (problem,) = [json.loads(line) for line in (tmp_path / "run" / SKIPPED).read_text().splitlines()]
    assert problem["reason"] == f"timeout: 0 of {OUTPUT_TOKENS} tokens within 2 s"
    assert any(line.startswith(f"skipped {problem['cell']}: timeout") for line in lines)
    # Nothing of it was left on the servers: every later turn was served, and the plan is complete.
    assert {row.cell for row in read_rows(tmp_path / "run") if row.purpose == "fit"} == {
        "fit/prefill/p-full:tcp/0/64",
        "fit/prefill/p-full:tcp/0/256",
    }


@pytest.mark.parametrize("wrong", ["router", "prefill"])
def test_a_wrong_address_is_named_before_anything_is_measured(plan, tmp_path, require, wrong):
    require("python:aiohttp")
    nowhere = "http://127.0.0.1:9"
    with FakeStack(StackOptions(mode="pd", router="none")) as split, FakeStack(StackOptions(mode="unified")) as one:
        url = one.urls["unified"]
        unified = joined(
            ENGINES["sglang"],
            Endpoints(entry=url, servers=(("unified", url),)),
            transport=Transport.NONE,
            decode_radix=False,
        )
        urls = {**split.urls, "router": split.urls["decode"], wrong: nowhere}
        with pytest.raises(EnvironmentProblem, match=rf"prefill/decode over tcp: unreachable: {nowhere}/"):
            measure(plan, [unified, pair_of(urls)], MACHINE, tmp_path / "run", resume=False, show_line=lambda _: None)
    assert not (tmp_path / "run" / POINTS).exists()


def test_without_a_client_nothing_is_begun(plan, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    nowhere = {"router": "http://127.0.0.1:9", "prefill": "http://127.0.0.1:9", "decode": "http://127.0.0.1:9"}
    with pytest.raises(EnvironmentProblem, match="aiohttp is not installed, .*: pip install"):
        measure(plan, [pair_of(nowhere)], MACHINE, tmp_path / "run", resume=False, show_line=lambda _: None)
