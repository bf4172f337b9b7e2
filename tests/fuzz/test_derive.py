"""`ppdsim derive` with a damaged table of its own ends as a profile or as one clear line, whatever stands there."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.damage import documents
from fuzz.formats import FORMATS, PROFILE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppdsim import library
from ppdsim.cli.app import run

TABLES = {"hardware": "hardware.yaml", "links": "links.yaml", "transfer errors": "transfer.json"}


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=40, deadline=None, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_a_damaged_table_derives_or_says_why_not(name, data, tmp_path: Path, capsys) -> None:
    form, shipped = FORMATS[name], library.shipped
    damaged, out = tmp_path / TABLES[name], tmp_path / "x.json"
    damaged.write_bytes(form.text(data.draw(documents(form.document()))))
    out.unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "shipped", lambda file: damaged if file == TABLES[name] else shipped(file))
        code = run(["derive", PROFILE, "--gpu", "A100-80G", "--link", "rdma-200g", "-o", str(out)])
    printed = capsys.readouterr()
    assert code in (0, 2)
    assert out.exists() is (code == 0)
    if code == 2:
        (line,) = printed.err.splitlines()
        assert line.startswith("error: ")
