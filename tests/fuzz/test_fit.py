"""Whatever rows and points hold, `fit` and `predict` end with finite numbers or with one line: no traceback, no nan."""

from __future__ import annotations

import csv
import io
import json
import math
from contextlib import suppress
from functools import partial

from fit.grids import TRUTH, rows, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppdsim import measurements, profile
from ppdsim.cli.app import run
from ppdsim.errors import InputError
from ppdsim.fit.cells import grid
from ppdsim.fit.run import fit_profile, fitter
from ppdsim.profile.numbers import check_numbers

ROWS = [
    row
    for row in rows(TRUTH, noise=0.02)
    if row["kind"] != "prefill" or (row["cached_tokens"] in (0, 8192) and row["repeat"] == 0)
]
NAMES = sorted({name for row in ROWS for name, value in row.items() if isinstance(value, int | float | list)})
HOSTILE = (None, float("nan"), float("inf"), -1, -1e-9, 0, 1e-300, 1e308, 10**30, "", "many", [], [1.0], True, {})
damages = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["drop", *range(len(HOSTILE))]),
        st.sampled_from(["every row", "one row", "half of the rows"]),
    ),
    min_size=1,
    max_size=3,
)


def few(examples):
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def damaged(damage):
    out = [dict(row) for row in ROWS]
    for name, what, where in damage:
        having = [row for row in out if name in row]
        for row in having[:1] if where == "one row" else having[::2] if where == "half of the rows" else having:
            if what == "drop":
                row.pop(name)
            else:
                row[name] = HOSTILE[what]
    return out


def outcome(folder, records, fit):
    """Return what a fit gives, or None if its input was refused in one line."""
    with suppress(InputError):
        return fit(measurements.read(write(folder / "m", records)))
    return None


@few(15)
@given(damage=damages)
def test_a_fit_of_damaged_rows_is_finite_or_refused(tmp_path, damage):
    found = outcome(tmp_path, damaged(damage), _fitted)
    if found is not None:
        for curve in (found.prefill, found.frontend, found.decode, found.stall, *found.handoffs.values()):
            bounds = {p.name: p for p in curve.PARAMETERS}
            for name, value in curve.parameter_values().items():
                assert math.isfinite(value), f"{curve.kind}.{name}"
                assert bounds[name].low <= value * (1 + 1e-9) + 1e-30, f"{curve.kind}.{name} = {value}"
                assert value <= bounds[name].high * (1 + 1e-9), f"{curve.kind}.{name} = {value}"


def _fitted(measured):
    cells = grid(measured)
    return fitter(measured)(cells) if all(map(len, (cells.append, cells.decode, cells.stall))) else None


@few(2)
@given(damage=damages)
def test_a_profile_of_damaged_rows_can_be_used_or_is_refused(tmp_path, damage):
    found = outcome(tmp_path, damaged(damage), lambda m: fit_profile(m, draws=2))
    if found is not None:
        check_numbers(found)
        profile.save(found, tmp_path / "p.json")
        assert profile.load(tmp_path / "p.json") == found


def test_rows_without_any_stamp_fit_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ppdsim.fit.run.fit_profile", partial(fit_profile, draws=10))
    write(tmp_path / "m", [{k: v for k, v in row.items() if not k.startswith("server_")} for row in ROWS])
    assert run(["fit", str(tmp_path / "m"), "-o", str(tmp_path / "p.json")]) == 0
    said = capsys.readouterr().err
    assert "assumed" in said
    assert "nan" not in said.lower().split()


points = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["prefill", "decode", "stall", "prefil", ""]),
            "arm": st.sampled_from(["append-d", "p-full", "p-delta", "", "x"]),
            "transport": st.sampled_from(["none", "tcp", "nvlink", "rdma", ""]),
        },
        optional={
            name: st.sampled_from(["0", "1", "64", "8192.5", "-1", "nan", "inf", "1e308", "1e9", "", "many", "0x10"])
            for name in ("cached_tokens", "new_tokens", "batch", "context_tokens", "prefill_cached_tokens")
        },
    ),
    min_size=1,
    max_size=3,
)


@few(25)
@given(given_points=points, as_json=st.booleans())
def test_predicted_seconds_are_finite_and_in_order_or_the_file_is_refused(tmp_path, capsys, given_points, as_json):
    path = tmp_path / ("p.jsonl" if as_json else "p.csv")
    names = list(dict.fromkeys(name for point in given_points for name in point))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows(given_points)
    path.write_text("".join(json.dumps(p) + "\n" for p in given_points) if as_json else text.getvalue())
    code = run(["predict", "h200x2_llama-3.1-8b_sglang-0.5.17", "--points", str(path)])
    said = capsys.readouterr()
    assert code in (0, 2)
    if code == 2:
        assert len(said.err.splitlines()) == 1
        return
    for row in csv.DictReader(io.StringIO(said.out)):
        low, value, high = (float(row[name]) for name in ("low_s", "predicted_s", "high_s"))
        assert 0.0 <= low <= value <= high < math.inf
