"""A whole run: Ctrl-C, preloaded prefixes, fleets that cannot be."""

from __future__ import annotations

import pytest
from des.costs import cost_model, fleet, talk

from ppdsim.des.cluster import Cluster, Interrupted, run_cluster
from ppdsim.des.spec import Preload
from ppdsim.errors import ScenarioError
from ppdsim.routing import AlwaysD, AlwaysP
from ppdsim.types import Transport

MODEL = cost_model()


def test_ctrl_c_keeps_what_had_ended_and_does_not_call_the_rest_overload(monkeypatch):
    finished = Cluster._finished

    def stop_at_the_third(self, turn, time):
        finished(self, turn, time)
        if sum(status == 0 for status in self.turns.status) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Cluster, "_finished", stop_at_the_third)
    with pytest.raises(Interrupted) as stop:
        run_cluster(fleet("P D", MODEL), [talk(i, 0.5 * i, (100, 20)) for i in range(9)], AlwaysP())
    summary = stop.value.results.summary()
    assert (summary["status"]["ok"], summary["status"]["unfinished"]) == (3, 6)
    assert summary["label"] == "STABLE"
    assert summary["goodput"]["attainment"] == 1.0
    assert any(note.startswith("interrupted") for note in summary["notes"])


def test_a_first_turn_finds_its_preload_and_may_be_appended():
    talks = [talk("a", 0.0, (64, 4)), talk("b", 9.0, (64, 4))]
    given = Preload(cached_tokens=320, prefill_cached_tokens=160)
    appended = run_cluster(fleet("P pD", MODEL), talks, AlwaysD(), preloads={"a": given}).turns
    # b has none: it is a first turn like any other, and P prefills it.
    assert appended["arm"].tolist() == ["append-d", "p-full"]
    assert appended["input_tokens"].tolist() == [384, 64]
    assert appended["cached_tokens"].tolist() == [320, 0]
    handed = run_cluster(fleet("P pD", MODEL), talks, AlwaysP(), preloads=given).turns
    assert handed["prefill_cached_tokens"].tolist() == [160, 160]


def test_a_preload_that_does_not_fit_is_said():
    """At 0.1 s the pool is held by a; at 9 s two prefixes come at once and the later drives out the earlier."""
    spec = fleet("U", MODEL, pool=640, num_reserved_decode_tokens=0)
    talks = [talk(name, time, (16, 100)) for name, time in (("a", 0.0), ("b", 0.1), ("c", 9.0), ("d", 9.001))]
    given = Preload(cached_tokens=400, prefill_cached_tokens=400)
    results = run_cluster(spec, talks, AlwaysP(), preloads=given)
    assert results.turns["cached_tokens"].tolist() == [400, 0, 0, 0]
    assert "3 turns did not find all of their preloaded prefix: a KV pool was too full" in results.notes
    roomy = run_cluster(fleet("U", MODEL), talks, AlwaysP(), preloads=given)
    assert roomy.turns["cached_tokens"].tolist() == [400, 400, 400, 400]
    assert roomy.notes == ()


def test_a_p_that_has_more_than_the_prompt_computes_its_last_page():
    given = Preload(cached_tokens=0, prefill_cached_tokens=1000)
    results = run_cluster(fleet("P D", MODEL), [talk("a", 0.0, (64, 4))], AlwaysP(), preloads=given)
    assert results.turns["prefill_cached_tokens"].tolist() == [48]
    assert results.notes == ()


@pytest.mark.parametrize(
    ("roles", "knobs", "message"),
    [
        ("P", {}, "nothing decodes"),
        ("D", {}, "P nodes need a D or pD node"),
        ("P U", {}, "P nodes need a D or pD node"),
        ("P D", {"transport": Transport.NONE}, "transport: given none"),
        ("U", {"chunked_prefill_size": 100}, "100 is no multiple of page_size 16"),
        ("U", {"residents": 10, "resident_context_tokens": 10_000}, "10 streams of 10000 tokens do not fit"),
    ],
)
def test_a_fleet_that_cannot_work_is_refused(roles, knobs, message):
    with pytest.raises(ScenarioError, match=message):
        run_cluster(fleet(roles, MODEL, **knobs), [talk(0, 0.0, (10, 1))], AlwaysP())
