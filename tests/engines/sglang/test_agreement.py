"""The stand-in engine and the simulator model one engine apart from each other: over random loads they agree.

Both take the same curves. Where they differ, one of them is wrong about SGLang 0.5.17: read its source and correct that
one. Compared are, to rounding (1e-9 s), the first and last token of every turn and its longest and P99 gap; and who is
retracted, in which order. Every role is compared with room for all, and with pools, running slots and reserves so short
that prefixes are evicted, hand-offs wait and streams are retracted: unified, unified with mixed chunks, and a pair
whose hand-offs send everything or only what D lacks.

No decode server of SGLang prefills, so pD has no counterpart as a whole. What it does is compared in two halves: a pD
that only takes hand-offs with the pair's D, and one that appends every turn, with room for all, with a unified server.
A pD short of memory that appends admits as D does and prefills as a unified server: no engine has that.

Where both leave something out, this test cannot see it: "Not modelled" in :mod:`ppdsim.des.decode_node`,
:mod:`ppdsim.des.node_memory` and :mod:`ppdsim.engines.sglang.standin.unified`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from des.costs import fleet, talk
from engines.sglang.standin.stand_in import MODEL, Bench

from ppdsim.des.cluster import Cluster
from ppdsim.des.spec import Preload
from ppdsim.des.turns import Turns
from ppdsim.engines.sglang.environ import INIT_NEW_TOKEN_RATIO
from ppdsim.engines.sglang.standin.request import Finish, Request
from ppdsim.routing import AlwaysD, AlwaysP
from ppdsim.routing.base import AbstractPolicy

PAGE, CHUNK = 16, 512
ROOM = 100_000
ROUNDING_S = 1e-9
"""What sums of the same numbers in another order may differ by [s]."""

Talk = tuple[float, tuple[tuple[int, int, float], ...]]
"""A conversation: its start [s] and its turns of (new tokens, output tokens, think time [s])."""


@dataclass(frozen=True, slots=True)
class Role:
    """A fleet of the simulator, and the servers and flags that it is held against."""

    fleet: str
    knobs: Mapping[str, Any] = field(default_factory=dict)
    pair: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)


DELTA = {"disaggregation_decode_enable_radix_cache": True}
ROLES = {
    "unified": Role("U"),
    "unified, mixed chunks": Role("U", {"enable_mixed_chunk": True}, changes={"mixed_chunk": True}),
    "P/D": Role("P D", pair=True),
    "P/D delta": Role("P D", DELTA, True, {"decode_radix": True}),
    "pD that takes hand-offs": Role("P pD", DELTA, True, {"decode_radix": True}),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client sees of one turn: its first and last token [s], its longest and its P99 gap [s]."""

    first_s: float
    last_s: float
    longest_gap_s: float
    p99_gap_s: float


@dataclass(frozen=True, slots=True)
class Case:
    """A load and the knobs of the servers that it meets."""

    load: list[Talk]
    pool_tokens: int = ROOM
    reserved_tokens: int = 512
    conservativeness: float = 1.0
    running: int = 2048


def drawn(rng: np.random.Generator, *, most: int, turns: int, new: int, output: int, span_s: float) -> list[Talk]:
    """Return conversations in the order of their starts, as every workload has them."""

    def one_turn() -> tuple[int, int, float]:
        return int(rng.integers(1, new)), int(rng.integers(2, output)), float(rng.uniform(0.01, 0.3))

    starts_s = sorted(rng.uniform(0.0, span_s, rng.integers(most // 2, most + 1)))
    return [(float(at_s), tuple(one_turn() for _ in range(rng.integers(1, turns + 1)))) for at_s in starts_s]


def roomy(seed: int) -> Case:
    """Return conversations that a server can hold all at once."""
    return Case(drawn(np.random.default_rng(seed), most=6, turns=3, new=1200, output=60, span_s=0.4))


def pressed(seed: int) -> Case:
    """Return conversations that a small pool cannot hold all at once, of one turn (more are retracted) or several."""
    rng = np.random.default_rng(seed)
    if seed % 2:
        load = drawn(rng, most=13, turns=1, new=300, output=600, span_s=0.6)
    else:
        load = drawn(rng, most=8, turns=3, new=400, output=400, span_s=0.6)
    longest = max(sum(new + output for new, output, _ in turns) for _, turns in load)
    return Case(
        load,
        # Room for the longest turn alone and for what is kept back beside it.
        pool_tokens=max(2000, longest + 320),
        reserved_tokens=int(rng.choice([16, 64, 256])),
        conservativeness=float(rng.choice([0.0, 0.3, 0.3, 1.0])),
        running=int(rng.choice([3, 2048, 2048])),
    )


def simulated(
    role: Role, case: Case, policy: AbstractPolicy | None = None, preload: Preload | None = None
) -> tuple[list[Seen], list[int]]:
    """Return what clients see of each turn, and the turns that were retracted, in order."""
    spec = fleet(
        role.fleet,
        MODEL,
        pool=case.pool_tokens,
        page_size=PAGE,
        chunked_prefill_size=CHUNK,
        router_awaits_prefill=False,
        num_reserved_decode_tokens=case.reserved_tokens,
        schedule_conservativeness=case.conservativeness,
        max_running_requests=case.running,
        **role.knobs,
    )
    turns = Turns([talk(number, start_s, *turns) for number, (start_s, turns) in enumerate(case.load)], preload)
    cluster = Cluster(spec, turns, policy or AlwaysP())
    cluster.run()
    cluster.check_integrity()
    after_s = float(MODEL.frontend.after_s())
    gaps = cluster.gaps
    gaps.close()
    seen = [
        Seen(turns.t_first[i] + after_s, turns.t_last[i] + after_s, float(gaps.max_s[i]), float(gaps.p99_s[i]))
        for i in range(turns.count)
    ]
    # Of one step they come in the order in which they were retracted.
    order = [(pause[0], turn) for turn, pauses in turns.pauses.items() for pause in pauses]
    # Of one step they come in the order in which they were retracted.
    order.sort(key=lambda item: item[0])
    return seen, [turn for _, turn in order]


def stood_in(role: Role, case: Case, preloaded_tokens: int = 0) -> tuple[list[Seen], list[int]]:
    """Return what clients see of each turn of the stand-in, and the turns that were retracted, in order."""
    retracted: list[str] = []
    bench = Bench(
        disaggregated=role.pair,
        kv_pool_tokens=case.pool_tokens,
        page_tokens=PAGE,
        chunk_tokens=CHUNK,
        num_reserved_decode_tokens=case.reserved_tokens,
        new_token_ratio=INIT_NEW_TOKEN_RATIO * case.conservativeness,
        max_running_requests=case.running,
        **role.changes,
    )
    core = bench.decode if role.pair else bench.unified
    set_aside = core._set_aside

    def note(request: Request) -> None:
        retracted.append(request.rid)
        set_aside(request)

    core._set_aside = note  # type: ignore[method-assign]
    found: dict[tuple[int, int], tuple[Request, list[float]]] = {}

    def send(number: int, turn: int, before: list[int], at_s: float) -> None:
        turns = case.load[number][1]
        new, output, _ = turns[turn]
        ids = [*before, *bench.ids(new)]
        request, _ = bench.send(ids, output, at_s=at_s)
        times_s: list[float] = []

        def deliver(told: Request) -> None:
            now_s = bench.clock.now_s()
            times_s.extend([now_s] * (told.visible - len(times_s)))
            if told.visible_ending is not None:
                assert told.visible_ending.finish is Finish.LENGTH, told.visible_ending.message
                if turn + 1 < len(turns):
                    send(number, turn + 1, [*ids, *told.answer(output)], now_s + turns[turn + 1][2])

        request.deliver = deliver
        found[number, turn] = request, times_s

    for number, (start_s, _) in enumerate(case.load):
        prefix = bench.ids(preloaded_tokens)
        if prefix:
            holding = core.pool.lock([])
            core.pool.take(holding, core.pool.pages(preloaded_tokens))
            core.pool.cache(holding, prefix)
            core.pool.release(holding)
        send(number, 0, prefix, start_s)
    bench.run()
    seen = []
    for key in sorted(found):
        times_s = found[key][1]
        gaps = np.diff(times_s)
        seen.append(Seen(times_s[0], times_s[-1], float(gaps.max()), float(np.percentile(gaps, 99))))
    places = {found[key][0].rid: place for place, key in enumerate(sorted(found))}
    return seen, [places[rid] for rid in retracted]


def agree(one: tuple[list[Seen], list[int]], other: tuple[list[Seen], list[int]], seed: int) -> None:
    """Check that clients see the same, and that the same streams were retracted in the same order."""
    assert one[1] == other[1], f"seed {seed}"
    for name in Seen.__slots__:
        np.testing.assert_allclose(
            [getattr(seen, name) for seen in one[0]],
            [getattr(seen, name) for seen in other[0]],
            rtol=0,
            atol=ROUNDING_S,
            err_msg=f"seed {seed}: {name}",
        )


@pytest.mark.parametrize("name", ROLES)
def test_with_room_for_all(name: str) -> None:
    for seed in range(20):
        agree(simulated(ROLES[name], roomy(seed)), stood_in(ROLES[name], roomy(seed)), seed)


@pytest.mark.parametrize("name", ROLES)
def test_short_of_memory_and_of_slots(name: str) -> None:
    retracted = []
    for seed in range(50):
        one = simulated(ROLES[name], pressed(seed))
        agree(one, stood_in(ROLES[name], pressed(seed)), seed)
        retracted.append(len(one[1]))
    # The loads are worth comparing: many retract a stream, some of them several.
    assert sum(count > 0 for count in retracted) > 8
    assert sum(count > 1 for count in retracted) > 3


def test_a_pd_node_that_appends_every_turn_is_a_unified_server() -> None:
    # A first turn is appended where it finds something: a page.
    preload = Preload(cached_tokens=PAGE, prefill_cached_tokens=PAGE)
    for seed in range(20):
        case = roomy(seed)
        agree(simulated(Role("P pD"), case, AlwaysD(), preload), stood_in(ROLES["unified"], case, PAGE), seed)
