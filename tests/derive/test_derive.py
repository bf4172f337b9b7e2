"""Derived profiles: the shipped one is re-derived, numbers are tagged, intervals widened, predictions say so."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ppdsim import compose, profile
from ppdsim.card import card_of, to_text
from ppdsim.cli.app import run
from ppdsim.derive import errors
from ppdsim.derive.derive import Change, derive
from ppdsim.errors import InputError
from ppdsim.machine import hardware
from ppdsim.machine.model_config import read_config
from ppdsim.points import Point
from ppdsim.predict import predict
from ppdsim.types import Arm, Tag, Transport

MEASURED = "h200x2_llama-3.1-8b_sglang-0.5.17"
SHIPPED = "h100x2_llama-3.1-8b_sglang-0.5.17_derived"
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
}
QWEN = LLAMA | {
    "architectures": ["Qwen3ForCausalLM"],
    "hidden_size": 5120,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "head_dim": 128,
    "intermediate_size": 17408,
    "vocab_size": 151936,
}


@pytest.fixture(scope="module")
def measured(repository):
    return profile.load(repository / "calibration/profiles" / f"{MEASURED}.json")


@pytest.fixture(scope="module")
def constants():
    return errors.load()


@pytest.fixture(scope="module")
def h100(measured, constants):
    return derive(measured, Change(gpu=hardware.find_gpu("H100-SXM")), constants, name=SHIPPED)


def config(folder, content):
    path = folder / "config.json"
    path.write_text(json.dumps(content))
    return path


def point(kind="prefill", arm=Arm.APPEND_D, transport=Transport.NONE):
    sizes = {"cached_tokens": 4096.0, "new_tokens": 1024.0, "batch": 8.0, "context_tokens": 2048.0}
    return Point(kind=kind, arm=arm, transport=transport, prefill_cached_tokens=None, source={}, **sizes)


def parameters(found):
    return {(curve.name, p.name): p for curve in found.curves for p in curve.parameters}


def test_the_shipped_h100_profile_is_what_the_command_makes(repository, tmp_path):
    out = tmp_path / f"{SHIPPED}.json"
    assert run(["derive", MEASURED, "--gpu", "H100-SXM", "-q", "-o", str(out)]) == 0
    assert out.read_text() == (repository / "calibration/profiles" / out.name).read_text()


def test_an_h100_computes_alike_and_reads_slower(measured, h100):
    old, new = compose.central(measured), compose.central(h100)
    assert 1.0 < new.prefill.token_s / old.prefill.token_s < 1.05
    assert new.decode.context_s_per_token / old.decode.context_s_per_token == pytest.approx(4.8 / 3.35, rel=1e-4)
    assert 1.2 < new.decode.floor_s / old.decode.floor_s < 4.8 / 3.35
    assert new.prefill.floor_s == old.prefill.floor_s


def test_no_number_of_another_gpu_is_called_measured(h100):
    assert Tag.MEASURED not in {p.tag for p in parameters(h100).values()}
    assert {curve.tag for curve in h100.curves} == {Tag.DERIVED, Tag.MECHANISM}
    assert all(curve.left_out is None and curve.cells == 0 for curve in h100.curves)


def test_on_the_same_gpu_the_hosts_numbers_stay_measured(measured, constants, tmp_path):
    model = read_config(config(tmp_path, QWEN), dummy_weights=True).model
    found = parameters(derive(measured, Change(model=model), constants, name="q"))
    assert found["frontend", "in_s"].tag is Tag.MEASURED
    assert found["prefill", "overlap_sharpness"].tag is Tag.MEASURED
    assert found["prefill", "token_s"].tag is Tag.DERIVED
    assert found["p-full:tcp", "wire_s_per_token"].value == pytest.approx(
        parameters(measured)["p-full:tcp", "wire_s_per_token"].value * 40 / 32, rel=1e-4
    )
    assert found["prefill", "floor_s"].value == pytest.approx(
        parameters(measured)["prefill", "floor_s"].value * (40 * 12 + 8) / 328, rel=1e-4
    )


def test_intervals_widen_by_the_measured_error(measured, h100, constants):
    for name, quantity in {"token_s": "matrix", "attention_s_per_token2": "attention"}.items():
        old, new = (
            np.array([row[curve.draw_names.index(name)] for row in curve.draws])
            for curve in (measured.curve("prefill"), h100.curve("prefill"))
        )
        expected = np.hypot(np.std(np.log(old)), constants.of("gpu", quantity))
        assert np.std(np.log(new)) == pytest.approx(expected, rel=0.1)
    prior, moved = measured.drift_of("floor_s"), h100.drift_of("floor_s")
    assert moved.low < prior.low
    assert moved.high > prior.high


def test_rows_that_run_at_once_go_by_multiprocessors_and_heads_without_an_interval(measured, h100, constants, tmp_path):
    model = read_config(config(tmp_path, QWEN), dummy_weights=True).model
    pcie = hardware.find_gpu("H100-PCIe")
    found = {
        528.0: h100,
        128.0 * 114 / 32: derive(measured, Change(gpu=pcie), constants, name="p"),
        128.0 * 132 / 40: derive(measured, Change(model=model), constants, name="q"),
        2 * 528.0: derive(measured, Change(tp=2), constants, name="t"),
    }
    for expected, there in found.items():
        wave = parameters(there)["prefill", "wave_tokens"]
        assert (wave.value, wave.low, wave.high) == (expected, expected, expected)
        assert wave.tag is Tag.DATA_SHEET
        assert "wave_tokens" not in there.curve("prefill").draw_names


def test_a_named_prior_moves_and_widens_too(measured, h100, constants):
    """What is unmeasured on the first machine is no surer on a second, which is unmeasured altogether."""
    h200, there = (parameters(found)["p-delta:nvlink", "handshake_s"] for found in (measured, h100))
    halves = [0.5 * np.log(p.high / p.low) for p in (h200, there)]
    assert halves[1] == pytest.approx(np.hypot(halves[0], 1.645 * constants.of("gpu", "host")), rel=1e-3)
    slower = derive(measured, Change(link=hardware.find_link("rdma-100g")), constants, name="l")
    wire = parameters(slower)["p-full:rdma", "wire_s_per_token"]
    assert wire.low < wire.value < wire.high


def test_a_prediction_says_that_it_is_derived_and_is_wider(measured, h100):
    points = [point(), point(kind="decode"), point(arm=Arm.P_FULL, transport=Transport.TCP)]
    for before, after in zip(predict(measured, points), predict(h100, points), strict=True):
        assert not before.extrapolated
        assert after.extrapolated
        assert after.high_s / after.low_s > before.high_s / before.low_s
    named = [found.mechanisms for found in predict(h100, points)]
    assert named == [("prefill: derived",), ("decode: derived",), ("prefill: derived", "p-full over tcp: derived")]


def test_a_stall_is_as_derived_as_the_forward_and_the_step_in_it(measured, h100, constants):
    """fp8 weights change the forward and the step but no launch: the stall curve itself stays measured."""
    fp8 = derive(measured, Change(weights_dtype="fp8"), constants, name="fp8")
    assert fp8.curve("stall").tag is Tag.MEASURED
    measured_context = measured.curve("stall").domain["context_tokens"][1]
    inside = replace(point(kind="stall"), context_tokens=measured_context)
    for there, parts in ((fp8, ("prefill", "decode")), (h100, ("prefill", "decode", "stall"))):
        (found,) = predict(there, [inside])
        assert found.extrapolated
        assert found.mechanisms == tuple(f"{part}: derived" for part in parts)
    (before,) = predict(measured, [inside])
    assert (before.extrapolated, before.mechanisms) == (False, ())


def test_the_card_says_so_too(h100):
    text = to_text(card_of(h100))
    assert f"DERIVED from {MEASURED}: this machine is unmeasured" in text
    assert "widened by (gpu): attention 13 %" in text
    assert "none: this machine is unmeasured" in text


def test_a_link_replaces_the_wire_of_its_transport(measured, constants):
    slow = derive(measured, Change(link=hardware.find_link("rdma-100g")), constants, name="l")
    wire = parameters(slow)["p-full:rdma", "wire_s_per_token"]
    assert wire.value == pytest.approx(131_072 / 10.25e9, rel=1e-4)
    assert wire.tag is Tag.DATA_SHEET
    same = parameters(slow)["p-full:tcp", "wire_s_per_token"]
    assert same == parameters(measured)["p-full:tcp", "wire_s_per_token"]
    assert slow.curve("prefill") == measured.curve("prefill")


def test_tcp_is_the_slower_of_engine_and_line(measured, constants):
    before = parameters(measured)["p-full:tcp", "wire_s_per_token"].value
    for name, expected in {"tcp-100g": before, "tcp-10g": 131_072 / 1.18e9}.items():
        found = derive(measured, Change(link=hardware.find_link(name)), constants, name="l")
        assert parameters(found)["p-full:tcp", "wire_s_per_token"].value == pytest.approx(expected, rel=1e-4)


def test_without_nvlink_its_handoffs_are_left_out(measured, constants):
    found = derive(measured, Change(gpu=hardware.find_gpu("L40S")), constants, name="l40s")
    assert all(curve.transport is not Transport.NVLINK for curve in found.curves)
    assert "L40S has no NVLink: hand-offs over it are left out" in found.notes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Change(), "exactly that; change --gpu, --model, --tp, --dtype, --kv-dtype, --mem-fraction-static or --link"),
        (Change(tp=1, gpu=hardware.find_gpu("H200")), "was measured on exactly that"),
        (Change(link=hardware.find_link("pcie5-x16")), "--link pcie5-x16: serves tensor parallelism only"),
    ],
)
def test_what_changes_nothing_is_refused(measured, constants, change, words):
    with pytest.raises(InputError, match=words):
        derive(measured, change, constants, name="x")


def test_errors_are_not_carried_twice(h100, constants):
    with pytest.raises(InputError, match=f"is derived from '{MEASURED}'; derive from that one"):
        derive(h100, Change(tp=2), constants, name="x")


def test_a_profile_without_matrices_says_what_to_do(measured, constants):
    old = measured.model_copy(update={"model": measured.model.model_copy(update={"matrices": None})})
    with pytest.raises(InputError, match="does not hold the sizes of its model's matrices .*'ppdsim fit'"):
        derive(old, Change(tp=2), constants, name="x")


def test_a_link_that_the_profile_has_no_handoff_for(repository, constants):
    one = profile.load(repository / "calibration/profiles/h200x1_llama-3.1-8b_sglang-0.5.17.json")
    with pytest.raises(InputError, match=r"has no hand-off over rdma \(it has: tcp\)"):
        derive(one, Change(link=hardware.find_link("rdma-400g")), constants, name="x")


def test_the_measured_model_from_its_config_changes_no_work(measured, constants, tmp_path):
    found = derive(
        measured, Change(model=read_config(config(tmp_path, LLAMA), dummy_weights=True).model), constants, name="m"
    )
    for key, parameter in parameters(found).items():
        assert parameter.value == pytest.approx(parameters(measured)[key].value, rel=1e-3), key


def test_the_command_refuses_in_one_line_and_writes_nothing(tmp_path, capsys):
    out = tmp_path / "new.json"
    for arguments, words in (
        (["--gpu", "H300"], "unknown GPU 'H300'"),
        (["--model", str(tmp_path / "none.json")], "cannot be read (No such file or directory)"),
        (["--tp", "3"], "cannot be split over 3 GPUs"),
    ):
        assert run(["derive", MEASURED, *arguments, "-o", str(out)]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1
    assert not out.exists()


def test_fp8_kv_halves_its_bytes_and_leaves_the_weights_measured(measured, constants, tmp_path):
    out = tmp_path / "kv.json"
    assert run(["derive", MEASURED, "--kv-dtype", "fp8", "-q", "-o", str(out)]) == 0
    found = profile.load(out)
    assert found == derive(measured, Change(kv_dtype="fp8"), constants, name="kv")
    assert found.model.kv_bytes_per_token == measured.model.kv_bytes_per_token / 2
    assert found.model.matrices == measured.model.matrices
    assert found.provenance["transfers"] == "kv"
    assert "a value of KV takes 1 B: reading, moving and holding it go by that" in found.notes
    old, new = parameters(measured), parameters(found)
    halved = {("decode", "context_s_per_token"), ("prefill", "kv_read_s_per_token")}
    halved |= {(curve.name, "wire_s_per_token") for curve in measured.curves if curve.arm}
    for key, parameter in new.items():
        share = 0.5 if key in halved or key == ("p-delta:tcp", "fresh_wire_s_per_token") else 1.0
        assert parameter.value == pytest.approx(share * old[key].value, rel=1e-4), key
    for key in (key for key in halved if old[key].tag is Tag.MEASURED):
        assert new[key].tag is Tag.DERIVED
        # No table shows how fp8 KV is read: a sigma of 25 %. A link takes bytes, whatever they mean.
        assert new[key].high / new[key].low > (1.25 if key[1] == "wire_s_per_token" else 2.0)
    assert new["prefill", "attention_s_per_token2"].tag is Tag.DERIVED  # another kernel
    for key in (("decode", "floor_s"), ("decode", "row_s"), ("prefill", "token_s"), ("prefill", "floor_s")):
        assert new[key] == old[key]
    again = derive(measured, Change(kv_dtype="fp8", weights_dtype="fp8"), constants, name="both")
    assert again.provenance["transfers"] == "fp8, kv"


def test_kv_that_is_measured_so_is_no_change(measured, constants):
    with pytest.raises(InputError, match="--kv-dtype"):
        derive(measured, Change(kv_dtype="bf16"), constants, name="x")


def test_quantised_weights_need_to_be_asked_for(tmp_path, capsys):
    out = str(tmp_path / "new.json")
    fp8 = config(tmp_path, LLAMA | {"quantization_config": {"quant_method": "fp8"}})
    assert run(["derive", MEASURED, "--model", str(fp8), "-o", out]) == 2
    assert "weights quantised by fp8; covered are bf16 and fp8, the latter with --dtype fp8" in capsys.readouterr().err
    assert run(["derive", MEASURED, "--model", str(tmp_path), "--dtype", "fp8", "-q", "-o", out]) == 0
    assert profile.load(tmp_path / "new.json").model.matrices.weights_dtype == "fp8"
    awq = config(tmp_path, LLAMA | {"quantization_config": {"quant_method": "awq"}})
    assert run(["derive", MEASURED, "--model", str(awq), "--dtype", "fp8", "-o", out]) == 2
