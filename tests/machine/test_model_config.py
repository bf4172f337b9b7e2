"""Model shapes from config.json: what is covered, by which name, and a clear refusal of what is not."""

from __future__ import annotations

import json

import pytest

from ppdsim.errors import InputError
from ppdsim.machine.model_config import check_dtypes, read_config, read_model

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


def read(tmp_path, **changes):
    return read_config(folder(tmp_path, **changes) / "config.json", dummy_weights=True)


def refused(tmp_path, **changes):
    with pytest.raises(InputError) as caught:
        read(tmp_path, **changes)
    said = str(caught.value)
    assert said.startswith(str(tmp_path / "config.json"))
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["MixtralForCausalLM"], "num_local_experts": 8}, "(mixture of experts (MoE))"),
        ({"architectures": ["Qwen3MoeForCausalLM"]}, "(mixture of experts (MoE))"),
        ({"architectures": ["Llama4ForConditionalGeneration"], "text_config": {"num_local_experts": 16}}, "(MoE)"),
        (
            {"architectures": ["DeepseekV3ForCausalLM"], "kv_lora_rank": 512, "n_routed_experts": 256},
            "(multi-head latent attention (MLA) and mixture of experts (MoE))",
        ),
        ({"architectures": ["GPT2LMHeadModel"]}, "architecture GPT2LMHeadModel (not covered)"),
        ({"architectures": ["A"], "text_config": {"model_type": "other"}}, "architecture A (not covered)"),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 4096}, "a sliding window of 4096 tokens"),
        ({"architectures": ["Phi3ForCausalLM"], "sliding_window": 2047}, "a sliding window of 2047 tokens"),
        (
            {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": {"sliding_window": 1024}},
            "a sliding window of 1024 tokens",
        ),
        (
            {"architectures": ["Qwen2ForCausalLM"], "sliding_window": 4096, "use_sliding_window": True},
            "a sliding window of 4096 tokens",
        ),
        ({"sliding_window": 512, "layer_types": ["sliding_attention"]}, "a sliding window of 512 tokens"),
    ],
)
def test_what_the_curves_do_not_describe_is_refused_by_its_name(tmp_path, changes, message):
    assert message in refused(tmp_path, **changes)


def test_a_window_that_is_off_is_covered(tmp_path):
    qwen = {"architectures": ["Qwen2ForCausalLM"], "sliding_window": 131072}
    assert read(tmp_path, **qwen, use_sliding_window=False).model.layers == 32
    assert read(tmp_path, **qwen).model.layers == 32


SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("value", [0, -1, 4096.5, "4096", True, 2**31, [1]])
def test_a_size_that_is_none_is_one_clear_line(tmp_path, key, value):
    assert f"'{key}' = " in refused(tmp_path, **{key: value})


@pytest.mark.parametrize("key", SIZES[:5])
def test_a_size_that_is_missing_is_named(tmp_path, key):
    assert f"missing key '{key}'" in refused(tmp_path, **{key: None})


def test_heads_that_do_not_divide_are_named(tmp_path):
    assert "'num_key_value_heads' = 7: 32 query heads" in refused(tmp_path, num_key_value_heads=7)
    assert "'hidden_size' = 4095 is no multiple of num_attention_heads 32" in refused(tmp_path, hidden_size=4095)
    assert read(tmp_path, hidden_size=4095, head_dim=128).model.head_dim == 128
    assert read(tmp_path, num_key_value_heads=None).model.kv_heads == 32
    assert read(tmp_path, num_key_value_heads=1).model.kv_heads == 1


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"quantization_config": "fp8"}, "quantization_config"),
        ({"quantization_config": {}}, "quantization_config.quant_method"),
        ({"torch_dtype": "int4"}, "torch_dtype"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"text_config": [1]}, "text_config"),
        ({"architectures": "LlamaForCausalLM"}, "architectures"),
        ({"text_config": {"model_type": "mistral", "hidden_size": 1.5}}, "text_config.hidden_size"),
    ],
)
def test_a_value_of_another_kind_is_named(tmp_path, changes, key):
    said = refused(tmp_path, **changes)
    assert f"'{key}'" in said
    assert "instance of" not in said


def test_a_model_that_also_sees_images_is_its_text_model(tmp_path):
    text = {key: value for key, value in LLAMA.items() if key not in ("architectures", "torch_dtype")}
    nested = {"text_config": {**text, "model_type": "mistral", "head_dim": 128}}
    alone = read(tmp_path, architectures=["MistralForCausalLM"], head_dim=128)
    beside = read(tmp_path, architectures=["Mistral3ForConditionalGeneration"], **nested)
    assert beside.model == alone.model
    assert alone.notes == ()
    assert "image part is not counted" in beside.notes[0]


FP8 = {"num_bits": 8, "type": "float"}


def compressed(weights, activations, **more):
    groups = {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": activations}}
    return {"quant_method": "compressed-tensors", "config_groups": groups, "ignore": ["lm_head"], **more}


@pytest.mark.parametrize(
    ("quantised", "expected"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "fbgemm_fp8"}, "fp8"),
        (compressed({**FP8, "strategy": "channel"}, {**FP8, "dynamic": True}), "fp8"),
        (compressed(FP8, None), "compressed-tensors"),
        (compressed({"num_bits": 8, "type": "int"}, {"num_bits": 8, "type": "int"}), "compressed-tensors"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"quant_method": "awq", "bits": 4}, "awq"),
    ],
)
def test_how_weights_are_quantised(tmp_path, quantised, expected):
    found = read(tmp_path, quantization_config=quantised)
    assert found.quantised == expected
    assert found.model == read(tmp_path).model.model_copy(update={"weights_dtype": expected})
    with pytest.raises(InputError, match=rf"m: weights quantised by {expected}; covered are bf16 and fp8"):
        check_dtypes(found, weights_dtype=None, kv_dtype=None, where="m")
    if expected == "fp8":
        check_dtypes(found, weights_dtype="fp8", kv_dtype=None, where="m")
        return
    with pytest.raises(InputError, match="weights quantised"):
        check_dtypes(found, weights_dtype="fp8", kv_dtype=None, where="m")


def test_a_checkpoint_that_asks_for_fp8_kv_wants_an_answer(tmp_path):
    found = read(tmp_path, quantization_config=compressed(FP8, FP8, kv_cache_scheme=FP8))
    with pytest.raises(InputError, match=r"m: the checkpoint asks for fp8 KV .* --kv-dtype fp8 or bf16"):
        check_dtypes(found, weights_dtype="fp8", kv_dtype=None, where="m")
    for kv in ("fp8", "bf16"):
        check_dtypes(found, weights_dtype="fp8", kv_dtype=kv, where="m")
    assert not read(tmp_path, quantization_config=compressed(FP8, FP8, kv_cache_scheme=None)).fp8_kv


def test_layers_that_stay_as_trained_are_named(tmp_path):
    layers = {"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["model.layers.0", "lm_head"]}
    assert read(tmp_path, quantization_config=layers).notes == (
        "counted as fp8, though the checkpoint keeps them as trained: model.layers.0",
    )


COMMIT = "0e9e39f249a16976918f6564b8830bc894c89659"


@pytest.mark.parametrize(
    ("place", "stated", "name"),
    [
        ("some-folder/config.json", "", "llama of 8.03B parameters"),
        (f"{COMMIT}/config.json", "", "llama of 8.03B parameters"),
        ("llama-models/config.json", "", "llama of 8.03B parameters"),
        ("Meta-Llama-3-8B/config.json", "", "Meta-Llama-3-8B"),
        (f"models--meta-llama--Llama-3.1-8B/snapshots/{COMMIT}/config.json", "", "Llama-3.1-8B"),
        ("configs/Llama-3.1-8B.json", "", "Llama-3.1-8B"),
        (f"configs/{COMMIT}.json", "", "llama of 8.03B parameters"),
        ("some-folder/config.json", "meta-llama/Llama-3.1-8B", "Llama-3.1-8B"),
        ("some-folder/config.json", "/mnt/models/ckpt-12", "llama of 8.03B parameters"),
        ("some-folder/config.json", f"meta-llama/{COMMIT}", "llama of 8.03B parameters"),
    ],
)
def test_a_name_is_the_models_and_never_that_of_a_folder_or_a_commit(tmp_path, place, stated, name):
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(LLAMA | {"_name_or_path": stated}))
    assert read_config(path, dummy_weights=True).model.name == name


def test_a_missing_or_malformed_config(tmp_path):
    with pytest.raises(InputError, match="no config.json"):
        read_model(tmp_path, dummy_weights=False)
    for text, message in (("{", "config.json: malformed JSON"), ("[]", "expected one JSON object")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InputError, match=message):
            read_model(tmp_path, dummy_weights=False)
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "none.json", dummy_weights=False)
