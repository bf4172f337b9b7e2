"""How much KV a GPU holds: the engine's rule against what servers chose and held, and which pool a profile states."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ppdsim import measurements, profile
from ppdsim.cli.app import run
from ppdsim.derive import errors
from ppdsim.derive.derive import Change, derive
from ppdsim.derive.machine import machine_of
from ppdsim.derive.pool import pool_of, with_gpu_pool
from ppdsim.engines.sglang.memory_rule import MEMORY_RULE, mem_fraction_static
from ppdsim.errors import InputError
from ppdsim.fit.run import fit_profile
from ppdsim.machine import hardware
from ppdsim.machine.model_config import read_config
from ppdsim.types import Tag

H200 = "h200x2_llama-3.1-8b_sglang-0.5.17"
H100 = "h100x2_llama-3.1-8b_sglang-0.5.17_full"
LLAMA_70B = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8192,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "intermediate_size": 28672,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}


@pytest.fixture(scope="module")
def shipped(repository):
    return {path.stem: profile.load(path) for path in (repository / "calibration/profiles").glob("*.json")}


@pytest.fixture(scope="module")
def constants():
    return errors.load()


def pool(found, **changes):
    machine = replace(machine_of(found, hardware.find_gpu(found.gpu)), **changes)
    return pool_of(machine, MEMORY_RULE, page_size_tokens=64, chunked_prefill_size=8192)


def test_the_rule_gives_the_fraction_that_servers_chose():
    h200 = hardware.find_gpu("H200").memory_bytes
    assert mem_fraction_static(h200, chunked_prefill_size=8192, tensor_parallel_size=1) == 0.903
    # A small chunk reserves no less than 10 GiB on a large GPU: what a decode server on an H200 chose.
    assert mem_fraction_static(h200, chunked_prefill_size=2048, tensor_parallel_size=1) == 0.929
    # Eight GPUs capture graphs of 512 streams and reserve 128 MiB for each GPU.
    assert mem_fraction_static(80_000 * 2**20, chunked_prefill_size=8192, tensor_parallel_size=8) == round(
        1 - (512 + 12_288 + 1024 + 1024 + 464) / 80_000, 3
    )
    assert mem_fraction_static(24_000 * 2**20, chunked_prefill_size=2048, tensor_parallel_size=1) == round(
        1 - (512 + 3072 + 128 + 48 + 8 * 42) / 24_000, 3
    )


def test_an_h100_holds_what_its_server_held(shipped):
    machine = machine_of(shipped[H100], hardware.find_gpu("H100-SXM"))
    found = pool_of(machine, MEMORY_RULE, page_size_tokens=64, chunked_prefill_size=8192, fraction=0.85)
    assert found.tokens == pytest.approx(423_488, rel=1e-3)
    assert "mem_fraction_static 0.85 (given)" in found.words


def test_an_h200_holds_more_than_an_h100_whatever_its_server_was_told(shipped):
    told, free = shipped[H200].kv_pool, shipped[H100].kv_pool
    assert shipped[H200].kv_pool_tokens == 160_000
    assert told.tokens == 906_944
    assert told.tag is Tag.DERIVED
    assert told.words == (
        "what NVIDIA H200 holds: mem_fraction_static 0.903 (SGLang 0.5.17 chooses it) of 149.4 GB of H200, less "
        "16.1 GB of weights, by 131072 B a token"
    )
    assert (free.tokens, free.tag) == (423_488, Tag.MEASURED)


def test_every_shipped_profile_states_what_its_gpu_holds(shipped):
    for found in shipped.values():
        assert with_gpu_pool(found) == found, found.id
        assert found.gpu_kv_pool_tokens is not None
        assert found.model.context_tokens == 131_072


def test_an_input_embedding_of_its_own_is_counted(shipped):
    found = shipped[H200]
    machine = machine_of(found, hardware.find_gpu("H200"))
    tied = replace(machine.matrices, tied_embeddings=True)
    assert machine.held_bytes - machine.weights_bytes == 2 * machine.matrices.vocabulary_parameters
    assert machine.held_bytes == pytest.approx(16.06e9, rel=1e-3)
    assert pool(found, matrices=tied).tokens - pool(found).tokens == pytest.approx(2 * 525e6 / 131_072, abs=64)
    assert replace(machine, tp=2).held_bytes == machine.held_bytes / 2


def test_a_model_that_says_so_ties_its_embeddings(tmp_path):
    path = tmp_path / "config.json"
    for said, expected in (({}, False), ({"tie_word_embeddings": True}, True)):
        path.write_text(json.dumps(LLAMA_70B | said))
        assert read_config(path, dummy_weights=True).model.tied_embeddings is expected


@pytest.mark.parametrize(
    ("change", "measured_pool"),
    [
        ({"link": "rdma-400g"}, 160_000),
        ({"kv_dtype": "fp8"}, 320_000),
        ({"weights_dtype": "fp8"}, 160_000),
        ({"mem_fraction_static": 0.8}, None),
        ({"gpu": "H100-SXM"}, None),
        ({"tp": 2}, None),
    ],
    ids=str,
)
def test_the_measured_pool_stays_unless_gpus_model_or_fraction_change(shipped, constants, change, measured_pool):
    given = dict(change)
    for key, find in (("link", hardware.find_link), ("gpu", hardware.find_gpu)):
        if key in given:
            given[key] = find(given[key])
    found = derive(shipped[H200], Change(**given), constants, name="x")
    assert found.kv_pool_tokens == (measured_pool or found.gpu_kv_pool_tokens)
    assert found.kv_pool.tag is Tag.DERIVED
    if "kv_dtype" in change:
        assert found.kv_pool.tokens == pytest.approx(2 * shipped[H200].kv_pool.tokens, abs=64)
    if change in ({"link": "rdma-400g"},):
        assert found.kv_pool == shipped[H200].kv_pool


def test_a_share_of_the_memory_can_be_given(shipped, tmp_path):
    out = tmp_path / "share.json"
    assert run(["derive", H200, "--mem-fraction-static", "0.8", "-q", "-o", str(out)]) == 0
    found = profile.load(out)
    assert found.kv_pool_tokens == int((0.8 * (143_771 * 2**20 - 1.32e9) - 16.06e9) / 131_072) // 64 * 64
    assert found.provenance["transfers"] == "mem_fraction_static 0.8"
    assert found.curve("prefill") == shipped[H200].curve("prefill")


def test_a_model_brings_its_own_context_and_pool(shipped, constants, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA_70B | {"max_position_embeddings": 8192}))
    large = read_config(path, dummy_weights=True).model
    found = derive(shipped[H200], Change(model=large, tp=4), constants, name="x")
    assert found.model.context_tokens == 8192
    assert found.kv_pool.words.endswith("on 4 GPUs")
    assert derive(shipped[H200], Change(tp=4), constants, name="x").model.context_tokens == 131_072
    h100 = hardware.find_gpu("H100-SXM")
    with pytest.raises(InputError, match=r"does not fit: 141.1 GB of weights a GPU, H100-SXM has 86 GB .* --tp"):
        derive(shipped[H200], Change(gpu=h100, model=large), constants, name="x")


def test_what_the_rule_does_not_cover_states_no_pool(shipped):
    bare = shipped[H200].model_copy(update={"gpu_kv_pool_tokens": None, "gpu_kv_pool_rule": None})
    huge = bare.model.matrices.model_copy(update={"matrix_parameters": 1e11})
    for other in (
        {"engine": replace(bare.engine, name="vllm")},
        {"gpu": "made-up"},
        {"model": bare.model.model_copy(update={"matrices": None})},
        {"model": bare.model.model_copy(update={"matrices": huge})},
    ):
        found = with_gpu_pool(bare.model_copy(update=other))
        assert found.gpu_kv_pool_tokens is None, other
        assert (found.kv_pool.tokens, found.kv_pool.tag) == (160_000, Tag.MEASURED)


def test_fit_states_what_the_gpu_holds(repository):
    measured = measurements.read(repository / "calibration/measurements/h200x2_llama-3.1-8b_sglang-0.5.17")
    found = fit_profile(measured, draws=1)
    assert found.kv_pool_tokens == 160_000
    assert found.gpu_kv_pool_tokens == 906_944
    assert found.model.context_tokens == 131_072


def test_the_derive_page_shows_the_pools_that_profiles_state(shipped, repository):
    page = " ".join((repository / "docs/explanation/derive.md").read_text().split())
    pools = (f"{shipped[name].gpu_kv_pool_tokens:,}" for name in (H200, H100))
    assert "Llama-3.1-8B: {} tokens on an H200, {} on an H100.".format(*pools) in page
    assert f"held {shipped[H100].kv_pool_tokens:,} tokens at 0.85" in page
