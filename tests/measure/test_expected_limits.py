"""What is known of servers before they run: from settings, flags, the model and the GPU's memory, or by asking."""

from __future__ import annotations

import json

import pytest
from cli.test_calibrate import CONFIG
from measure.standins import DELTA_TCP, UNIFIED, service

from ppdsim.engines import ENGINES
from ppdsim.engines.client import Endpoints
from ppdsim.engines.launch.specs import Host
from ppdsim.engines.sglang.launcher.settings import Settings
from ppdsim.errors import InputError
from ppdsim.measure.expected_limits import asked, from_settings
from ppdsim.measure.plan import load_plan
from ppdsim.measure.service import joined
from ppdsim.types import Transport

PLAN = load_plan("full")
HERE = Host(cores=(0,))
H100S = Host(cores=(0,), gpu_memory_bytes=(85_520_809_984, 85_520_809_984))
ALONE, PAIR = service(*UNIFIED), service(*DELTA_TCP, decode_radix=True)
GPUS = {"prefill_gpus": (0,), "decode_gpus": (1,), "unified_gpus": (1,)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "max_position_embeddings": 8192}))
    return str(tmp_path)


def foreseen(folder, which=ALONE, host=HERE, **settings):
    return from_settings(ENGINES["sglang"], which, PLAN, Settings(model=folder, **{**GPUS, **settings}), host)


def test_a_fixed_pool_is_known_and_bounds_requests(folder):
    found = foreseen(folder, max_total_tokens=5_000)
    assert (found.limits.kv_pool_tokens, found.limits.context_tokens) == (5_000, 5_000)
    assert found.source == "as max_total_tokens sets it"
    assert found.limits.prefill_pool_tokens is None
    assert foreseen(folder, PAIR, max_total_tokens=5_000).limits.prefill_pool_tokens == 5_000


def test_a_pool_that_the_engine_sizes_is_assumed_from_the_gpus_memory(folder):
    found = foreseen(folder, host=H100S)
    # Two H100s of that memory had 423,488 tokens with SGLang 0.5.17 and the same fraction.
    assert found.limits.kv_pool_tokens == pytest.approx(423_488, rel=0.03)
    assert found.source == "assumed: 0.85 of 86 GB less the weights, until the servers state it"
    halved = foreseen(folder, host=H100S, mem_fraction_static=0.425)
    assert halved.limits.kv_pool_tokens < 0.5 * found.limits.kv_pool_tokens


def test_without_gpus_the_pool_is_said_to_be_unknown(folder):
    found = foreseen(folder)
    assert found.limits.kv_pool_tokens is None
    assert "assumed to be enough" in found.source


@pytest.mark.parametrize(
    ("settings", "alone", "pair"),
    [
        ({}, 8192, 8192),
        ({"engine_flags": ("--context-length", "4096")}, 4096, 4096),
        ({"engine_flags": ("--context-length", "4096"), "unified_flags": ("--context-length=2048",)}, 2048, 4096),
        ({"decode_flags": ("--context-length", "4096")}, 8192, 4096),
        ({"engine_flags": ("--context-length", "131072")}, PLAN.longest_context_tokens, PLAN.longest_context_tokens),
    ],
)
def test_the_context_is_the_models_unless_a_flag_says_otherwise(folder, settings, alone, pair):
    assert foreseen(folder, **settings).limits.context_tokens == alone
    assert foreseen(folder, PAIR, **settings).limits.context_tokens == pair


def test_a_context_that_is_no_number_is_one_line(folder):
    with pytest.raises(InputError, match=r"--context-length 4k: expected a whole number"):
        foreseen(folder, engine_flags=("--context-length", "4k"))


def test_servers_that_do_not_answer_are_assumed_to_have_enough(require):
    require("python:aiohttp")
    nobody = joined(
        ENGINES["sglang"],
        Endpoints(entry="http://127.0.0.1:1", servers=(("unified", "http://127.0.0.1:1"),)),
        transport=Transport.NONE,
        decode_radix=False,
    )
    found = asked(nobody, PLAN)
    assert found.limits.kv_pool_tokens is None
    assert "do not answer" in found.source
    answering = asked(service(*UNIFIED, kv_pool_tokens=6_400, context_tokens=4_096), PLAN)
    assert (answering.limits.kv_pool_tokens, answering.limits.context_tokens) == (6_400, 4_096)
