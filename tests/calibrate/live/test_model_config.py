"""Model shapes from config.json: what is covered, and a clear refusal of what is not."""

from __future__ import annotations

import json

import pytest

from ppdsim.calibrate.live.model_config import read_model
from ppdsim.errors import InputError

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}


def folder(tmp_path, **changes):
    config = {key: value for key, value in {**LLAMA, **changes}.items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_the_shape_of_llama_8b(tmp_path):
    model = read_model(folder(tmp_path), dummy_weights=True)
    assert (model.layers, model.kv_heads, model.query_heads, model.head_dim) == (32, 8, 32, 128)
    # 32 layers x (4096 x 4096 x 2 + 4096 x 1024 x 2 + 3 x 4096 x 14336)
    assert model.matrix_parameters == 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    assert model.vocabulary_parameters == 4096 * 128256
    assert model.weights.startswith("random")


def test_a_head_size_of_its_own(tmp_path):
    model = read_model(folder(tmp_path, architectures=["Qwen3ForCausalLM"], head_dim=64), dummy_weights=False)
    assert model.head_dim == 64
    assert model.weights == "as trained"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["MixtralForCausalLM"], "num_local_experts": 8}, "mixture of experts"),
        ({"architectures": ["DeepseekV3ForCausalLM"], "kv_lora_rank": 512}, "multi-head latent attention"),
        ({"architectures": ["GPT2LMHeadModel"]}, "not covered"),
        ({"hidden_size": None}, "missing key 'hidden_size'"),
    ],
)
def test_what_the_curves_do_not_describe_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_model(folder(tmp_path, **changes), dummy_weights=False)


def test_a_missing_or_malformed_config(tmp_path):
    with pytest.raises(InputError, match="no config.json"):
        read_model(tmp_path, dummy_weights=False)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config.json: malformed JSON"):
        read_model(tmp_path, dummy_weights=False)
