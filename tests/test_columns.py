"""Columns that are arrays, and columns that are spelled out on demand."""

from __future__ import annotations

import numpy as np
import pytest

from ppdsim.columns import Columns, Names

CODES = np.array([0, 2, 2, 1], dtype=np.uint8)
TABLE = Columns(
    {
        "time_s": np.array([0.5, 1.5, 2.5, 3.5]),
        "arm": Names(codes=CODES, names=("", "p-full", "append-d")),
        "id": lambda rows: np.array([f"row {i}" for i in range(4)[rows]]),
    }
)


def test_all_kinds_of_column_read_as_arrays():
    assert list(TABLE) == ["time_s", "arm", "id"]
    assert len(TABLE) == 3
    assert TABLE["time_s"].tolist() == [0.5, 1.5, 2.5, 3.5]
    assert TABLE["arm"].tolist() == ["", "append-d", "append-d", "p-full"]
    assert TABLE["id"].tolist() == ["row 0", "row 1", "row 2", "row 3"]


@pytest.mark.parametrize("rows", [slice(1, 3), slice(3, 9), slice(9, 12)])
def test_a_part_is_the_rows_of_the_whole(rows):
    for name in TABLE:
        assert TABLE.part(name, rows).tolist() == TABLE[name][rows].tolist()


def test_an_unknown_column_is_an_error():
    with pytest.raises(KeyError, match="ttft_s"):
        TABLE["ttft_s"]
