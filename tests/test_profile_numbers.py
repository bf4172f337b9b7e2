"""A profile with a number that no fit can have is refused on reading, by file, curve and parameter, everywhere."""

from __future__ import annotations

import json

import pytest

from ppdsim import profile
from ppdsim.cli.app import run
from ppdsim.curves import CURVES
from ppdsim.errors import ProfileError
from ppdsim.profile.numbers import DERIVED, check_numbers

SHIPPED = "h200x2_llama-3.1-8b_sglang-0.5.17"
HOSTILE = (float("nan"), float("inf"), float("-inf"), -1e-3, 1e308)


@pytest.fixture(scope="module")
def folder(repository):
    return repository / "calibration/profiles"


@pytest.fixture(scope="module")
def shipped(folder):
    return profile.load(folder / f"{SHIPPED}.json")


def with_curve(whole, old, **update):
    new = old.model_copy(update=update)
    return whole.model_copy(update={"curves": tuple(new if c is old else c for c in whole.curves)})


def refusal(changed):
    with pytest.raises(ProfileError) as refused:
        check_numbers(changed)
    return str(refused.value)


@pytest.mark.parametrize("value", HOSTILE, ids=str)
def test_no_parameter_holds_a_number_that_no_fit_can_give(shipped, value):
    for record in shipped.curves:
        for position, p in enumerate(record.parameters):
            for what in ("value", "low", "high"):
                wrong = p.model_copy(update={what: value})
                parameters = (*record.parameters[:position], wrong, *record.parameters[position + 1 :])
                said = refusal(with_curve(shipped, record, parameters=parameters))
                bound = next(b for b in CURVES[record.kind].PARAMETERS if b.name == p.name)
                assert f"{record.name}.{p.name}" in said
                assert f"{value:g}" in said
                assert "expected" in said
                assert f"{bound.high * (1 + 1e-4):g}" in said or what != "value"


@pytest.mark.parametrize("value", HOSTILE, ids=str)
def test_no_draw_holds_a_number_that_no_fit_can_give(shipped, value):
    for record in shipped.curves:
        for position, name in enumerate(record.draw_names):
            row = (*record.draws[3][:position], value, *record.draws[3][position + 1 :])
            said = refusal(with_curve(shipped, record, draws=(*record.draws[:3], row, *record.draws[4:])))
            assert f"{record.name}.{name}, draw 4 = {value:g}" in said


def test_a_number_just_beyond_its_bound_is_refused_and_one_at_it_is_not(shipped):
    record = shipped.curve("frontend")
    (bound,) = (b for b in CURVES["frontend"].PARAMETERS if b.name == "out_s")
    for share, good in ((1.0, True), (1.0 + 1e-5, True), (1.01, False)):
        parameters = tuple(
            p.model_copy(update={"value": bound.high * share, "high": bound.high}) if p.name == "out_s" else p
            for p in record.parameters
        )
        changed = with_curve(shipped, record, parameters=parameters)
        if good:
            check_numbers(changed)
        else:
            assert f"frontend.out_s = {bound.high * share:g}, expected 0 to" in refusal(changed)


def test_times_of_a_derived_machine_have_wider_bounds_and_shares_do_not(folder):
    derived = profile.load(folder / f"{SHIPPED.replace('h200x2', 'h100x2')}_derived.json")
    decode = derived.curve("decode")
    slow = tuple(p.model_copy(update={"value": 0.05}) if p.name == "floor_s" else p for p in decode.parameters)
    check_numbers(with_curve(derived, decode, parameters=slow))
    handoff = next(c for c in derived.curves if c.kind == "handoff")
    whole = tuple(p.model_copy(update={"value": 1.5}) if p.name == "early_share" else p for p in handoff.parameters)
    assert "early_share = 1.5, expected 0 to 1" in refusal(with_curve(derived, handoff, parameters=whole))
    assert DERIVED > 10


def test_draws_are_rectangular_equally_many_and_of_the_names_that_are_declared(shipped):
    record = shipped.curve("decode")
    short = (record.draws[0][:-1], *record.draws[1:])
    names = ", ".join(record.draw_names)
    assert f"curve 'decode', draw 1: 3 numbers, expected 4 ({names})" in refusal(
        with_curve(shipped, record, draws=short)
    )
    assert "curve 'decode' has 199 draws, others have 200" in refusal(
        with_curve(shipped, record, draws=record.draws[1:])
    )
    assert "curve 'decode' has no draws, so no interval; expected 200" in refusal(
        with_curve(shipped, record, draws=(), draw_names=())
    )
    assert "200 draws, but no draw_names" in refusal(with_curve(shipped, record, draw_names=()))
    doubled = (record.draw_names[0], *record.draw_names[:-1])
    assert "draw_names: 'floor_s', expected parameters of the curve, each once" in refusal(
        with_curve(shipped, record, draw_names=doubled)
    )


def test_a_curve_stands_once_and_so_does_a_drift(shipped):
    twice = shipped.model_copy(update={"curves": (*shipped.curves, shipped.curves[0])})
    assert "2 curves 'prefill', expected one" in refusal(twice)
    assert "2 drifts of floor_s" in refusal(shipped.model_copy(update={"drift": (shipped.drift[0], *shipped.drift)}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -2.0, 1e308], ids=str)
def test_errors_misfit_domain_and_drift_are_numbers_too(shipped, value):
    record = shipped.curve("prefill")
    assert f"prefill.misfit = {value:g}" in refusal(with_curve(shipped, record, misfit=value))
    assert "coverage_within_run" in refusal(with_curve(shipped, record, coverage_within_run=value))
    domain = {"new_tokens": (value, 10.0)}
    assert "prefill.domain.new_tokens" in refusal(with_curve(shipped, record, domain=domain))
    for what in ("in_sample", "left_out", "repeat_noise"):
        for name in ("median", "p90", "maximum", "bias"):
            if value == 1e308:
                continue  # an error may be as large as it likes
            errors = getattr(record, what).model_copy(update={name: value})
            assert f"prefill.{what}.{name} = {value:g}" in refusal(with_curve(shipped, record, **{what: errors}))
    for drift in shipped.drift:
        for what in ("low", "high"):
            wrong = drift.model_copy(update={what: value})
            others = tuple(d for d in shipped.drift if d is not drift)
            said = refusal(shipped.model_copy(update={"drift": (wrong, *others)}))
            assert f"drift of {drift.quantity}, {what} = {value:g}" in said


def test_the_smaller_end_stands_first(shipped):
    record, drift = shipped.curve("decode"), shipped.drift[0]
    domain = {"batch": (64.0, 1.0)}
    assert "decode.domain.batch = 64 to 1" in refusal(with_curve(shipped, record, domain=domain))
    p = record.parameters[0]
    parameters = (p.model_copy(update={"low": p.high, "high": p.low}), *record.parameters[1:])
    assert "decode.floor_s, low end of its interval" in refusal(with_curve(shipped, record, parameters=parameters))
    swapped = drift.model_copy(update={"low": drift.high, "high": drift.low})
    assert f"drift of {drift.quantity}, low" in refusal(shipped.model_copy(update={"drift": (swapped,)}))
    assert "-3" in refusal(with_curve(shipped, record, cells=-3))
    unknown = refusal(with_curve(shipped, record, domain={"bach": (1.0, 2.0)}))
    assert "decode.domain: unknown axis 'bach'; did you mean 'batch'?" in unknown


@pytest.mark.parametrize("text", ["NaN", "-0.5", "1e308", "Infinity", '"many"'])
@pytest.mark.parametrize("command", ["show", "predict", "simulate", "derive", "fit"])
def test_every_command_that_takes_a_profile_refuses_it_in_one_line(folder, tmp_path, capsys, command, text):
    content = json.loads((folder / f"{SHIPPED}.json").read_text())
    content["curves"][0]["parameters"][0]["value"] = "HERE"
    path = tmp_path / "p.json"
    path.write_text(json.dumps(content).replace('"HERE"', text))
    points = tmp_path / "points.csv"
    points.write_text("kind,cached_tokens,new_tokens\nprefill,0,64\n")
    out = tmp_path / "out"
    arguments = {
        "show": ["show", str(path)],
        "predict": ["predict", str(path), "--points", str(points)],
        "simulate": ["simulate", "one-pair", "--profile", str(path), "-o", str(out)],
        "derive": ["derive", str(path), "--gpu", "H100-SXM", "-o", f"{out}.json"],
        "fit": ["fit", str(path), "--anchor", str(points), "-o", f"{out}.json"],
    }
    assert run(arguments[command]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert str(path) in line
    expected = {"NaN": "NaN is no number", "Infinity": "Infinity is no number", '"many"': "'many'"}
    assert expected.get(text, "prefill.floor_s = ") in line
    assert {each.name for each in tmp_path.iterdir()} == {"p.json", "points.csv"}
