"""How near to saturation a replayed load is: the busiest of the machine that prefills, D, its KV pool and the wire.

The machine that prefills and the wire are busy while a forward runs or KV travels. A decode machine always steps, so
that says nothing of it: it saturates when the tokens asked for in a second cost a second beside the floor of a step,
however large the batch. With a = row_s + context_s_per_token c for a stream of context c::

    B = rate (floor_s + a B),    B = rate floor_s / (1 - rate a):    busy = rate a

A machine that does both has the sum. The pool is as busy as it is full on average, by the turns that are running.

Not modelled: the tail of a run, in which less arrives, lowers all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim.cost.decode import DecodeCurve


@dataclass(frozen=True, slots=True, kw_only=True)
class Busiest:
    """A place and the share of its capacity that is used [1]."""

    place: str
    share: float


def busiest(turns: Mapping[str, NDArray[Any]], decode: DecodeCurve, *, kv_pool_tokens: int, unified: bool) -> Busiest:
    """Return the busiest place of a run; `decode` is the curve of D, of floats.

    `unified`: the turns were prefilled where they decode.
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
