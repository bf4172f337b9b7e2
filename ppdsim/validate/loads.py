"""The recorded conversations of a load through the simulator: arrivals, lengths and think times as they were recorded.

A recorded turn has its prompt (cached and new tokens) and its answer, so what its user added is the prompt less the
earlier prompt and answer; its think time runs from the last token of the answer before it at the client. Whatever else
happens (queues, batches, what is cached) is the simulator's. Not modelled: a turn that failed is missing from
the recording, and with it the rest of its conversation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from ppdsim import compose
from ppdsim.accuracy import LoadErrors, Ranking
from ppdsim.cost.base import Array
from ppdsim.cost.decode import DecodeCurve
from ppdsim.des.cluster import run_cluster
from ppdsim.des.recorder import Labels
from ppdsim.engines import ENGINES
from ppdsim.measurements import Measurements, PlayedTurn
from ppdsim.metrics import quantile
from ppdsim.profile import Profile
from ppdsim.routing.always import AlwaysD, AlwaysP
from ppdsim.scenario import EngineBlock, NodeGroup, Routing, Scenario
from ppdsim.setup import resolve
from ppdsim.types import Arm, NodeRole, arm_name
from ppdsim.validate.floor import anchored
from ppdsim.validate.targets import LEAST_TURNS, LOAD_TARGETS, NEAR_SATURATION
from ppdsim.workload.base import Conversation, TurnSpec

FEW_TURNS = 10
"""Turns of a class below which the distance of two distributions is judged by all their orders."""
QUANTILE_GRID: tuple[float, ...] = tuple(np.linspace(0.0, 1.0, 101).tolist())
"""Quantiles that a distribution is kept at."""
QUANTITIES: Mapping[str, str] = {"ttft": "ttft_s", "tpot": "tpot_s", "itl_max": "itl_max_s", "e2e": "e2e_s"}
"""What is compared, and its column in measurements and results."""
CLASSES = ("turn 1", "later turns")


def conversations(rows: Iterable[PlayedTurn]) -> list[Conversation]:
    """Return the conversations of one load as their users made them, in order of arrival."""
    by_id: dict[str, list[PlayedTurn]] = defaultdict(list)
    for row in rows:
        by_id[row.conversation_id].append(row)
    found = [_conversation(name, sorted(turns, key=lambda row: row.turn)) for name, turns in by_id.items()]
    return sorted(found, key=lambda conversation: conversation.arrival_s)


def _conversation(name: str, rows: Sequence[PlayedTurn]) -> Conversation:
    turns: list[TurnSpec] = []
    context = 0
    ended_s = rows[0].sent_s
    for row in rows:
        prompt = row.cached_tokens + row.new_tokens
        turns.append(
            TurnSpec(
                new_tokens=prompt - context,
                output_tokens=row.output_tokens,
                think_s=max(0.0, row.sent_s - ended_s),
            )
        )
        context = prompt + row.output_tokens
        ended_s = row.sent_s + row.e2e_s
    return Conversation(conversation_id=name, arrival_s=rows[0].sent_s, turns=tuple(turns))


def replay(profile: Profile, measured: Measurements, rows: Sequence[PlayedTurn]) -> Mapping[str, NDArray[Any]]:
    """Return the simulated turns of one load on the arm it was measured on, with that run's engine settings."""
    first, settings = rows[0], measured.manifest
    alone = first.arm is Arm.APPEND_D
    roles = (NodeRole.U,) if alone else (NodeRole.P, NodeRole.D)
    delta = ENGINES[profile.engine.name].delta_flag if first.arm is Arm.P_DELTA else ""
    own = profile.model_copy(
        update={
            "page_size_tokens": settings.page_size_tokens,
            "chunked_prefill_size": settings.chunked_prefill_size,
        }
    )
    recorded = Scenario(
        schema="ppdsim/scenario/1",
        question="what was recorded",
        run_time="",
        profile=profile.id,
        fleet=tuple(NodeGroup(role=role, count=1, kv_pool_tokens=settings.kv_pool_of(first.arm)) for role in roles),
        transport=first.transport,
        engine=EngineBlock(flags={delta: True} if delta else {}),
        routing=Routing(policy="always-d" if alone else "always-p"),
        stop_when_overloaded=False,
    )
    spec = resolve(recorded, load=lambda _: own).cluster(seed=0)
    return run_cluster(spec, conversations(rows), AlwaysD() if alone else AlwaysP(), labels=Labels()).turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Busiest:
    """A place and the share of its capacity that is used [1]."""

    place: str
    share: float


def busiest(turns: Mapping[str, NDArray[Any]], decode: DecodeCurve, *, kv_pool_tokens: int, unified: bool) -> Busiest:
    """Return how near to saturation a run is: the busiest of the machine that prefills, D, its KV pool and the wire.

    The machine that prefills and the wire are busy while a forward runs or KV travels. A decode machine always steps,
    so that says nothing of it: it saturates when the tokens asked for in a second cost a second beside the floor of a
    step, however large the batch. With a = row_s + context_s_per_token c for a stream of context c::

        B = rate (floor_s + a B),    B = rate floor_s / (1 - rate a):    busy = rate a

    A machine that does both has the sum. The pool is as busy as it is full on average, by the turns that are running.
    Not modelled: the tail of a run, in which less arrives, lowers all of them.

    Parameters
    ----------
    decode : DecodeCurve
        The curve of D, of floats.
    unified : bool
        The turns were prefilled where they decode.
    """
    ok = turns["status"] == "ok"

    def column(name: str) -> NDArray[np.float64]:
        return np.asarray(turns[name][ok], dtype=np.float64)

    span_s = float(np.max(column("t_last_token_s")) - np.min(column("t_arrival_s")))
    context = column("input_tokens") + 0.5 * column("output_tokens")
    prefill = float(np.sum(column("prefill_s"))) / span_s
    step = float(np.sum(column("output_tokens") * (decode.row_s + decode.context_s_per_token * context))) / span_s
    running_s = column("t_last_token_s") - column("t_prefill_start_s")
    pool = float(np.sum(running_s * context)) / span_s / kv_pool_tokens
    places = {"KV pool": pool, "wire": float(np.sum(column("kv_transfer_s"))) / span_s}
    places |= {"prefill and decode": prefill + step} if unified else {"prefill": prefill, "decode": step}
    place = max(places, key=lambda name: places[name])
    return Busiest(place=place, share=places[place])


def load_errors(profile: Profile, measured: Measurements) -> tuple[LoadErrors, ...]:
    """Return every class, quantity and load: with the profile's own floor, then with the floor anchored in the run."""
    out: list[LoadErrors] = []
    known = {(record.arm, record.transport) for record in profile.curves}
    for rows in loads_of(measured).values():
        if rows[0].arm is not Arm.APPEND_D and (rows[0].arm, rows[0].transport) not in known:
            continue
        out += _compare(profile, measured, rows, own_floor=False)
        other = anchored(profile, measured, beside=rows[0].block)
        if other is not None:
            out += _compare(other, measured, rows, own_floor=True)
    return tuple(out)


def loads_of(measured: Measurements) -> dict[tuple[str, str, str], list[PlayedTurn]]:
    """Return the rows of every load by name, arm and transport."""
    found: dict[tuple[str, str, str], list[PlayedTurn]] = defaultdict(list)
    for row in measured.played:
        found[row.run, row.arm.value, row.transport.value].append(row)
    return dict(found)


def _compare(
    profile: Profile, measured: Measurements, rows: Sequence[PlayedTurn], *, own_floor: bool
) -> Iterator[LoadErrors]:
    turns = replay(profile, measured, rows)
    busy = busiest(
        turns,
        compose.central(profile).decode,
        kv_pool_tokens=measured.manifest.kv_pool_of(rows[0].arm),
        unified=rows[0].arm is Arm.APPEND_D,
    )
    for name in CLASSES:
        real = [row for row in rows if (row.turn == 0) == (name == CLASSES[0])]
        here = (turns["turn"] == 0) == (name == CLASSES[0])
        for quantity, column in QUANTITIES.items():
            seen = _defined(np.array([getattr(row, column) for row in real], dtype=np.float64))
            made = _defined(turns[column][here])
            if not len(seen) or not len(made):
                continue
            target = LOAD_TARGETS.get((quantity, own_floor))
            # The limit for large samples is none for one turn of each.
            few = min(len(seen), len(made)) < FEW_TURNS
            test = ks_2samp(seen, made, method="exact" if few else "asymp")
            measured_s, predicted_s = (quantile(values, QUANTILE_GRID) for values in (seen, made))
            yield LoadErrors(
                measurements=measured.manifest.id,
                load=rows[0].run,
                arm=_arm(rows[0]),
                anchored=own_floor,
                turn_class=name,
                quantity=quantity,
                turns=len(seen),
                measured_p50_s=float(measured_s[50]),
                measured_p90_s=float(measured_s[90]),
                measured_p99_s=float(measured_s[99]),
                predicted_p50_s=float(predicted_s[50]),
                predicted_p90_s=float(predicted_s[90]),
                predicted_p99_s=float(predicted_s[99]),
                ks=float(test.statistic),
                ks_p=float(test.pvalue),
                busiest=busy.place,
                utilisation=busy.share,
                gated=len(real) >= LEAST_TURNS and busy.share < NEAR_SATURATION,
                target_p50=None if target is None else target[0],
                target_p90=None if target is None else target[1],
                measured_s=tuple(measured_s.tolist()),
                predicted_s=tuple(predicted_s.tolist()),
            )


def _arm(row: PlayedTurn) -> str:
    return arm_name(row.arm, row.transport)


def _defined(values: Array) -> Array:
    return values[np.isfinite(values)]


def rankings(found: Iterable[LoadErrors]) -> tuple[Ranking, ...]:
    """Return the order of the arms of each load that was played on several, by the median TTFT and TPOT of later turns.

    The simulated order is the anchored one where there is one.
    """
    best: dict[tuple[str, str, str], dict[str, LoadErrors]] = defaultdict(dict)
    for row in found:
        if row.turn_class == CLASSES[1] and row.quantity in ("ttft", "tpot"):
            best[row.measurements, row.load, row.quantity][row.arm] = row  # the anchored row comes later
    return tuple(
        Ranking(
            measurements=measurements,
            load=load,
            quantity=quantity,
            measured=tuple(sorted(arms, key=lambda arm: arms[arm].measured_p50_s)),
            predicted=tuple(sorted(arms, key=lambda arm: arms[arm].predicted_p50_s)),
        )
        for (measurements, load, quantity), arms in best.items()
        if len(arms) > 1
    )
