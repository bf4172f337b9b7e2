"""The passes of a run: repeats of every arm lie on both sides of those of the others."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest
from measure.standins import DELTA_TCP, FULL_NVLINK, MACHINE, UNIFIED, service
from virtual_loop import run_virtually

from ppdsim.measure.calibrate import measure
from ppdsim.measure.journal import read_rows
from ppdsim.measure.plan import load_plan

PLAN = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0, 1024, 2048], new_tokens: [64, 256]}
handoff: {cached_tokens: [0, 1024, 2048], new_tokens: [64, 256]}
repeats: {least: 3, most: 3, half_width: 0.5}
probe: {new_tokens: 64, every_s: 1000.0}
"""


def measured(tmp_path, passes):
    """Return the names of the services in the order in which they were opened, and the rows but for probes."""
    path = tmp_path / "plan.yaml"
    path.write_text(f"{PLAN}passes: {passes}\n")
    opened: list[str] = []

    def named(arm, **options):
        name = f"{arm[0].value} {arm[1].value}"
        return service(*arm, spoil=lambda engine: opened.append(name), **options)

    services = [named(UNIFIED), named(DELTA_TCP, decode_radix=True), named(FULL_NVLINK)]
    measure(
        load_plan(str(path)), services, MACHINE, tmp_path / "run", resume=False, show_line=str, runner=run_virtually
    )
    return opened, [row for row in read_rows(tmp_path / "run") if row.purpose != "probe"]


def test_the_second_pass_goes_through_the_services_in_reverse_order(tmp_path):
    opened, rows = measured(tmp_path, passes=2)
    forth = ["append-d none", "p-delta tcp", "p-full nvlink"]
    # The last of the first pass stays up and is the first of the second.
    assert opened == [*forth, *forth[-2::-1]]
    last = [n for n, row in enumerate(rows) if (row.arm, row.transport) == FULL_NVLINK]
    for arm in (UNIFIED, DELTA_TCP):
        numbers = [n for n, row in enumerate(rows) if (row.arm, row.transport) == arm]
        assert min(numbers) < min(last)
        assert max(last) < max(numbers)


def test_one_pass_stays_with_each_service(tmp_path):
    opened, rows = measured(tmp_path, passes=1)
    assert opened == ["append-d none", "p-delta tcp", "p-full nvlink"]
    assert [row.elapsed_s for row in rows] == sorted(row.elapsed_s for row in rows)


@pytest.mark.parametrize("passes", [1, 2])
def test_repeats_of_a_cell_are_spread_over_the_run_and_never_back_to_back(tmp_path, passes):
    _, rows = measured(tmp_path, passes)
    places = defaultdict(list)
    for number, row in enumerate(rows):
        places[row.cell].append((number, row.block))
    for found in places.values():
        assert len({block for _, block in found}) == len(found) == 3
        assert all(later[0] - earlier[0] > 1 for earlier, later in pairwise(found))
