"""No count, number or list of a scenario is without a bound, and the error names the limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ppdsim import scenario
from ppdsim.errors import InputError, ScenarioError
from ppdsim.limits import LIMITS
from ppdsim.sweep.axes import parse_axes
from ppdsim.sweep.executors import local
from ppdsim.sweep.plan import make_plan


def values(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every number and list of a JSON Schema with its path."""
    if isinstance(node, dict):
        if node.get("type") in ("integer", "number", "array"):
            yield path, node
        for key, inner in node.items():
            yield from values(inner, f"{path}/{key}")
    elif isinstance(node, list):
        for place, inner in enumerate(node):
            yield from values(inner, f"{path}/{place}")


def test_every_number_and_list_of_the_schema_has_a_bound():
    found = list(values(scenario.json_schema()))
    assert len(found) > 50
    open_ended = [
        path
        for path, node in found
        if not {"maximum", "exclusiveMaximum", "maxItems"} & node.keys()
        and "/Routing/properties/parameters/" not in path
    ]
    assert not open_ended


def test_the_names_in_the_schema_are_limits():
    names = {node["limit"] for _, node in values(scenario.json_schema()) if "limit" in node}
    assert names <= {limit.name for limit in LIMITS}
    assert len(names) >= 6


TOO_MANY = {
    "seeds": ("seeds=1000000000", "seeds: given 1000000000, expected at most 10,000, the limit seeds"),
    "draws": ("crossover.draws=1000000000", "expected at most 10,000, the limit draws"),
    "residents": ("crossover.residents=1000000000", "the limit residents"),
    "turns of a cell": ("crossover.turns=1000000000", "the limit cell_turns"),
    "servers": ("fleet.0.count=1000000000", "the limit servers"),
    "conversations": ("workload.conversations=1000000000", "the limit conversations"),
    "turns": ("workload.turns_mean=90000", "given 18,000,000 turns, more than the limit turns"),
    "a list": (
        f"crossover.total_tokens=[{','.join(map(str, range(1, 1002)))}]",
        "given 1,001 values, expected at most",
    ),
    "a time": ("workload.think_time.mean_s=1e300", "the limit number"),
    "not a number": ("workload.turns_mean=.nan", "turns_mean: given nan"),
}


@pytest.mark.parametrize("name", TOO_MANY)
def test_what_would_fill_the_machine_is_refused_by_name_and_limit(name):
    setting, message = TOO_MANY[name]
    with pytest.raises(ScenarioError) as caught:
        scenario.load("cache-rate" if "crossover" in setting else "one-pair", [setting])
    assert message in str(caught.value)
    assert f"--set {setting[:30]}" in str(caught.value)


def test_a_sweep_is_bounded_before_its_points_are_made():
    with pytest.raises(InputError, match="--seeds: given 1,000,000,000, more than the limit seeds"):
        make_plan("one-pair", parse_axes(["page_size=1"]), seeds=10**9)
    axes = parse_axes([f"{key}={','.join(map(str, range(1, 201)))}" for key in ("page_size", "chunked_prefill_size")])
    with pytest.raises(InputError, match="26 seeds of 40,000 points: given 1,040,000"):
        make_plan("one-pair", axes, seeds=26)
    with pytest.raises(InputError, match="limit jobs"):
        local(10**9)
