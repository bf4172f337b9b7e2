"""The profile file: errors name the key, the samples are reproducible, the card says it in words."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from ppdsim import compose, profile
from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.analytical.breakeven import break_even, break_even_streams
from ppdsim.card import card_of, to_text
from ppdsim.errors import ProfileError, UnknownNameError
from ppdsim.types import Arm, Tag, Transport

SHIPPED = "h200x2_llama-3.1-8b_sglang-0.5.17"


@pytest.fixture(scope="module")
def path(repository):
    return repository / "calibration/profiles" / f"{SHIPPED}.json"


@pytest.fixture(scope="module")
def shipped(path):
    return profile.load(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("machine"), "missing key 'machine'"),
        (lambda d: d.update(machin="x"), "unknown key 'machin'; did you mean 'machine'"),
        (
            lambda d: d.update(schema="ppdsim/profile/1"),
            "schema ppdsim/profile/1, expected ppdsim/profile/2; .ppdsim fit MEASUREMENTS -o FILE. makes",
        ),
        (lambda d: d["engine"].update(graphs=1), "unknown key 'engine.graphs'"),
        (lambda d: d["engine"].pop("chunk_rule"), "missing key 'engine.chunk_rule'"),
        (lambda d: d["engine"].update(chunk_rule="none"), "'engine.chunk_rule' = 'none'"),
        (lambda d: d["curves"][0].update(cells="many"), "'curves.0.cells' = 'many'"),
        (lambda d: d.update(page_size_tokens=0), "'page_size_tokens' = 0"),
    ],
)
def test_a_wrong_key_is_named(path, tmp_path, change, words):
    content = json.loads(path.read_text())
    change(content)
    wrong = tmp_path / "p.json"
    wrong.write_text(json.dumps(content))
    with pytest.raises(ProfileError, match=words):
        profile.load(wrong)


@pytest.mark.parametrize("kind", profile.ALWAYS)
def test_a_profile_without_one_of_its_curves_is_named(path, tmp_path, kind):
    content = json.loads(path.read_text())
    content["curves"] = [curve for curve in content["curves"] if curve["kind"] != kind]
    wrong = tmp_path / "p.json"
    wrong.write_text(json.dumps(content))
    with pytest.raises(ProfileError, match=f"{wrong}: no curve '{kind}'; expected prefill, frontend, decode, stall"):
        profile.load(wrong)


def test_broken_json_is_named(tmp_path):
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(ProfileError, match="malformed JSON"):
        profile.load(tmp_path / "p.json")


def test_a_profile_of_an_earlier_release_is_named_with_what_makes_it_anew(shipped, tmp_path):
    prefill, *others = shipped.curves
    fewer = tuple(p for p in prefill.parameters if p.name != "prepare_s")
    old = prefill.model_copy(update={"parameters": fewer, "draws": (), "draw_names": ()})
    path = tmp_path / "old.json"
    profile.save(shipped.model_copy(update={"curves": (old, *others)}), path)
    message = f"{path}: curve 'prefill': missing parameter 'prepare_s'; 'ppdsim fit' makes a new profile"
    with pytest.raises(ProfileError, match=re.escape(message)):
        compose.central(profile.load(path))


def test_a_curve_of_unknown_kind_is_named(shipped):
    odd = shipped.curves[0].model_copy(update={"kind": "prefil"})
    with pytest.raises(UnknownNameError, match="unknown curve 'prefil' .* did you mean 'prefill'"):
        compose.central(shipped.model_copy(update={"curves": (odd, *shipped.curves)}))


def test_the_cloud_is_the_draws_and_the_same_every_time(shipped):
    one, two = compose.samples(shipped, another_run=True), compose.samples(shipped, another_run=True)
    np.testing.assert_array_equal(one.prefill.floor_s, two.prefill.floor_s)
    within = compose.samples(shipped, another_run=False)
    column = shipped.curve("prefill").draw_names.index("floor_s")
    np.testing.assert_array_equal(within.prefill.floor_s[:, 0], [d[column] for d in shipped.curve("prefill").draws])


def test_another_run_moves_floor_link_and_compute_by_the_stated_spread(shipped):
    within, another = (compose.samples(shipped, another_run=flag) for flag in (False, True))
    floors = np.quantile(another.prefill.floor_s, [0.0, 1.0])
    assert floors[0] == pytest.approx(8e-3, rel=0.01)
    assert floors[1] == pytest.approx(17e-3, rel=0.01)
    ratio = np.asarray(another.handoff(Arm.P_FULL, Transport.TCP).wire_s_per_token) / np.asarray(
        within.handoff(Arm.P_FULL, Transport.TCP).wire_s_per_token
    )
    np.testing.assert_allclose(np.quantile(ratio, [0.05, 0.95]), [1 / 1.12, 1.12], rtol=0.02)
    compute = np.asarray(another.prefill.token_s) / np.asarray(within.prefill.token_s)
    np.testing.assert_allclose(np.quantile(compute, [0.05, 0.95]), [0.99, 1.01], rtol=2e-3)


def test_what_nobody_measured_is_drawn_from_its_named_prior(shipped):
    """Without draws of its own a hand-off would look more certain than the one it is built from."""
    within = compose.samples(shipped, another_run=False)
    for arm, transport in ((Arm.P_DELTA, Transport.NVLINK), (Arm.P_FULL, Transport.RDMA)):
        drawn = within.handoff(arm, transport).parameter_values()
        for p in shipped.curve("handoff", arm, transport).parameters:
            ends = np.quantile(drawn[p.name], [0.05, 0.95])
            np.testing.assert_allclose(ends, [p.low, p.high], rtol=0.03)
    rdma = [within.handoff(arm, Transport.RDMA).wire_s_per_token for arm in (Arm.P_FULL, Arm.P_DELTA)]
    np.testing.assert_array_equal(*rdma)  # the same link is off by the same


def test_n_star_against_an_unmeasured_handoff_is_no_surer_than_against_the_measured_one(shipped):
    within, central = compose.samples(shipped, another_run=False), compose.central(shipped)
    widths = []
    for arm in (Arm.P_FULL, Arm.P_DELTA):
        comparison = ArmComparison(arm=arm, transport=Transport.NVLINK, resident_context_tokens=2048)
        found = break_even_streams(within, comparison, np.array([8192.0]), np.array([512.0]))
        assert (
            np.quantile(found, 0.05) < break_even(central, comparison, 8192.0, 512.0).streams < np.quantile(found, 0.95)
        )
        widths.append(np.log(np.quantile(found, 0.95) / np.quantile(found, 0.05)))
    assert widths[1] > 1.5 * widths[0]


def test_a_draw_as_floats_is_its_row_of_the_cloud(shipped):
    samples = compose.samples(shipped, another_run=True)
    model = compose.some_draws(shipped, 200, another_run=True)[7]
    assert isinstance(model.prefill.token_s, float)
    expected = samples.append_ttft_s(np.array([4096.0]), np.array([256.0]))[7, 0]
    assert model.append_ttft_s(4096.0, 256.0) == pytest.approx(expected, rel=1e-12)
    assert len(compose.some_draws(shipped, 20, another_run=True)) == 20
    assert len(compose.some_draws(shipped, 1000, another_run=True)) == 200


def test_a_band_widens_with_the_misfit_and_holds_nine_in_ten():
    rng = np.random.default_rng(0)
    samples = np.exp(0.05 * rng.standard_normal((4000, 1)))
    narrow, wide = compose.band(samples, 0.0), compose.band(samples, 0.1)
    np.testing.assert_allclose(np.log([narrow.low[0], narrow.high[0]]), [-0.0822, 0.0822], atol=0.006)
    expected = 1.645 * np.hypot(0.05, 0.1)
    np.testing.assert_allclose(np.log([wide.low[0], wide.high[0]]), [-expected, expected], rtol=0.06)


def test_the_card_says_every_number_and_what_was_not_measured(shipped):
    text = to_text(card_of(shipped))
    for record in shipped.curves:
        for p in record.parameters:
            assert p.name in text
    assert "rows left out as impossible: 0" in text
    assert "no fitted parameter sits at a bound" in text
    assert "p-full:rdma: mechanism, unmeasured" in text
    assert "named prior" in text


def test_the_card_warns_of_a_parameter_at_its_bound(shipped):
    record = shipped.curves[0]
    stuck = record.parameters[0].model_copy(update={"at_bound": True})
    changed = record.model_copy(update={"parameters": (stuck, *record.parameters[1:])})
    text = to_text(card_of(shipped.model_copy(update={"curves": (changed, *shipped.curves[1:])})))
    assert "AT ITS BOUND" in text
    assert "parameters at a bound: prefill.floor_s" in text


def test_a_send_has_a_time_of_its_own_over_nvlink_alone_and_the_tags_say_where_each_number_is_from(shipped):
    """0 over TCP is chosen, not measured; over NVLink idle cells show the sum with a handshake that is assumed."""
    terms = ("handshake_s", "send_s", "request_result_s", "beside_send_s")

    def tags(transport):
        found = {p.name: p for p in shipped.curve("handoff", Arm.P_FULL, transport).parameters}
        return {name: found[name].tag for name in terms}, found["send_s"].value

    chosen = dict.fromkeys(terms[1:], Tag.CHOSEN)
    assumed = dict.fromkeys(terms, Tag.ASSUMED)
    assert tags(Transport.TCP) == ({"handshake_s": Tag.MEASURED, **chosen}, 0.0)
    found, send_s = tags(Transport.NVLINK)
    assert found == {**assumed, "send_s": Tag.MEASURED}
    assert send_s > 0.0
    noted = [note for note in shipped.notes if "p-full:nvlink.request_result_s" in note]
    assert len(noted) == 1
    assert "P's log of one run" in noted[0]
    assert "five other runs" not in noted[0]
