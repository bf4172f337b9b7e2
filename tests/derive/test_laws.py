"""The laws: nothing changed gives the number back, and each scales with what its term is made of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ppdsim import profile
from ppdsim.curves import CURVES
from ppdsim.derive import terms
from ppdsim.derive.machine import Machine, check, machine_of
from ppdsim.errors import InputError, UnknownNameError
from ppdsim.machine import hardware

REACHED = terms.Reached(memory_share=0.8, link_share=0.75, row_share=0.2)
LAWS = [(kind, name, term) for kind, found in terms.TERMS.items() for name, term in found.items()]


@pytest.fixture(scope="module")
def h200(repository) -> Machine:
    shipped = profile.load(repository / "calibration/profiles/h200x2_llama-3.1-8b_sglang-0.5.17.json")
    return machine_of(shipped, hardware.find_gpu(shipped.gpu))


def test_every_parameter_of_every_curve_has_a_law():
    assert {kind: set(found) for kind, found in terms.TERMS.items()} == {
        kind: {p.name for p in curve.PARAMETERS} for kind, curve in CURVES.items()
    }


@pytest.mark.parametrize(("kind", "name", "term"), LAWS)
def test_a_machine_moved_to_itself_keeps_every_number(h200, kind, name, term):
    assert term.law(h200, h200, 5e-3, REACHED) == pytest.approx(5e-3, rel=1e-12)


def test_counts_of_the_measured_model(h200):
    assert h200.kv_bytes_per_token == 131_072
    assert h200.weights_bytes == pytest.approx(15.01e9, rel=1e-3)
    assert h200.matrix_flops_per_token == pytest.approx(2 * 6.98e9)
    assert h200.attention_flops_per_pair == 4 * 32 * 32 * 128
    assert h200.launches == 328
    assert h200.all_reduces == 0


def test_attention_goes_by_heads_and_layers(h200):
    wider = replace(h200, shape=replace(h200.shape, layers=64, query_heads=64))
    assert terms.attention(h200, wider, 1e-9, REACHED) == pytest.approx(4e-9)


def test_rows_that_run_at_once_go_by_multiprocessors_over_heads_of_one_gpu(h200):
    a100 = replace(h200, gpu=hardware.find_gpu("A100-80G"))
    assert terms.wave(h200, a100, 528.0, REACHED) == pytest.approx(128 * 108 / 32)
    wider = replace(h200, shape=replace(h200.shape, query_heads=64))
    assert terms.wave(h200, wider, 528.0, REACHED) == pytest.approx(264.0)
    assert terms.wave(h200, replace(wider, tp=4), 528.0, REACHED) == pytest.approx(4 * 264.0)


def test_kv_goes_by_its_bytes_and_the_bandwidth(h200):
    h100 = replace(h200, gpu=hardware.find_gpu("H100-SXM"))
    assert terms.kv_read(h200, h100, 3e-8, REACHED) == pytest.approx(3e-8 * 4.8 / 3.35)
    grouped = replace(h200, shape=replace(h200.shape, kv_heads=4))
    assert terms.kv_read(h200, grouped, 3e-8, REACHED) == pytest.approx(1.5e-8)


def test_gpus_beyond_the_kv_heads_hold_copies(h200):
    assert replace(h200, tp=8).kv_bytes_per_token == replace(h200, tp=16).kv_bytes_per_token == 131_072 / 8


def test_matrices_on_a_gpu_of_equal_compute_differ_by_their_element_wise_bytes_only(h200):
    h100 = replace(h200, gpu=hardware.find_gpu("H100-SXM"))
    more = terms.matrices(h200, h100, 2.2e-5, REACHED) - 2.2e-5
    expected = h200.elementwise_bytes_per_token / 0.8 * (1 / 3.35e12 - 1 / 4.8e12)
    assert more == pytest.approx(expected, rel=1e-9)


def test_a_step_reads_its_weights_at_the_bandwidth_and_keeps_its_kernels(h200):
    h100 = replace(h200, gpu=hardware.find_gpu("H100-SXM"))
    more = terms.step_floor(h200, h100, 4.8e-3, REACHED) - 4.8e-3
    assert more == pytest.approx(h200.weights_bytes / 0.8 * (1 / 3.35e12 - 1 / 4.8e12), rel=1e-9)


def test_a_row_goes_by_flops_for_its_matrices_and_by_kv_heads_for_the_rest(h200):
    matrices = 0.2 * 2 * (6.98e9 + 0.525e9) / 989e12
    deep = replace(h200, shape=replace(h200.shape, layers=64))
    assert terms.row(h200, deep, matrices + 8e-6, REACHED) == pytest.approx(matrices + 16e-6)
    narrow = replace(h200, shape=replace(h200.shape, head_dim=64))
    assert terms.row(h200, narrow, matrices + 8e-6, REACHED) == pytest.approx(matrices + 8e-6)
    wide = replace(h200, matrices=replace(h200.matrices, matrix_parameters=2 * 6.98e9 + 0.525e9))
    assert terms.row(h200, wide, matrices + 8e-6, REACHED) == pytest.approx(2 * matrices + 8e-6)


def test_fp8_halves_the_weights_of_the_layers_and_leaves_attention(h200):
    fp8 = replace(h200, weights_dtype="fp8")
    assert fp8.weights_bytes == pytest.approx(6.98e9 + 2 * 0.525e9)
    assert fp8.matrix_flops_per_s == 2 * 989.5e12
    assert terms.attention(h200, fp8, 1e-9, REACHED) == 1e-9


def test_fp8_kv_halves_what_is_read_moved_and_held_and_no_work(h200):
    fp8 = replace(h200, shape=replace(h200.shape, dtype_bytes=1))
    assert fp8.kv_bytes_per_token == 65_536
    assert terms.kv_read(h200, fp8, 3e-8, REACHED) == pytest.approx(1.5e-8)
    assert terms.host_wire(h200, fp8, 8e-5, REACHED) == pytest.approx(4e-5)
    assert terms.peer_wire(h200, fp8, 2e-7, REACHED) == pytest.approx(1e-7)
    for law in (terms.row, terms.step_floor, terms.matrices, terms.attention):
        assert law(h200, fp8, 5e-3, REACHED) == pytest.approx(5e-3)


def test_more_gpus_pay_for_all_reduces(h200):
    four = replace(h200, tp=4)
    assert four.all_reduces == 64
    assert four.all_reduce_bytes_per_token == 64 * 1.5 * 4096 * 2
    quarter = terms.matrices(h200, four, 2.2e-5, REACHED)
    assert 2.2e-5 / 4 < quarter < 2.2e-5 / 2
    free = hardware.Link(name="free", transport=None, bandwidth_bytes_per_s=1e30, latency_s=1e-30)
    cheap = replace(four, gpu=replace(four.gpu, peer=free))
    assert terms.matrices(h200, cheap, 2.2e-5, REACHED) < quarter


def test_what_no_engine_runs_is_refused(h200):
    with pytest.raises(InputError, match="--tp 3: 32 query and 8 KV heads cannot be split over 3 GPUs"):
        check(replace(h200, tp=3))
    with pytest.raises(InputError, match="--dtype fp8: A100-80G has no fp8 tensor cores"):
        check(replace(h200, gpu=hardware.find_gpu("A100-80G"), weights_dtype="fp8"))


def test_names_of_hardware_are_suggested_and_never_other_hardware():
    with pytest.raises(UnknownNameError, match="unknown GPU 'H100-SMX' .* did you mean 'H100-SXM'"):
        hardware.find_gpu("H100-SMX")
    with pytest.raises(UnknownNameError, match=r"unknown GPU 'L40' \(valid: .*L40S\) \("):
        hardware.find_gpu("L40")
    with pytest.raises(UnknownNameError, match="unknown link 'rdma-100' .* did you mean 'rdma-100g'"):
        hardware.find_link("rdma-100")
    with pytest.raises(UnknownNameError, match=r"unknown link 'rdma-20g' \(valid: .*rdma-200g.*\) \("):
        hardware.find_link("rdma-20g")
    with pytest.raises(UnknownNameError, match="unknown link 'rdma_200g' .* did you mean 'rdma-200g'"):
        hardware.find_link("rdma_200g")


def test_every_number_of_the_hardware_files_has_a_kind_and_a_source(tmp_path, monkeypatch):
    assert {"H100-SXM", "H100-PCIe", "H200", "A100-80G", "L40S"} <= set(hardware.gpus())
    without_names = tmp_path / "hardware.yaml"
    shipped = hardware.library.shipped("hardware.yaml").read_text()
    without_names.write_text(shipped.replace("names: [NVIDIA H200]", "names: []"))
    with pytest.raises(InputError, match=r"hardware.yaml: 'H200.names' = '\[\]'"):
        hardware.read_gpus(without_names, hardware.links())
    broken = tmp_path / "links.yaml"
    broken.write_text("x:\n  bandwidth_bytes_per_s: {value: 1.0, kind: guess, source: me}\n  latency_s: 3\n")
    monkeypatch.setattr(hardware.library, "shipped", lambda file: broken)
    with pytest.raises(InputError, match=r"links.yaml: 'x.bandwidth_bytes_per_s.kind' = 'guess'"):
        hardware.links()
