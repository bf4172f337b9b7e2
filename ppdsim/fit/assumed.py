"""What a fit takes for terms that its rows do not show: named priors, tagged ``assumed`` in the profile.

A term is not shown where the rows lack the column for it (server stamps, the gaps of short answers) or the cells (a
prompt of several chunks). The client sees only sums, so the terms of a sum are not independent: each bootstrap draw
takes its own values of the priors and fits the other terms beside them. The sum then keeps the interval that the rows
give it, and the split has that of the prior::

    value = middle exp(sigma z),  z ~ N(0, 1), one z a term and draw

Not modelled: priors by engine or GPU. Source: the five fitted runs under calibration/profiles, where a prior names no
other; `sigma` spans what they found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ppdsim.fit.cells import Cells, Grid
from ppdsim.fit.known import known
from ppdsim.types import Arm, Transport, arm_name

ASSUMED_SEED = 20261130
"""Seed of the priors' draws: the same measurements give the same profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """A term's middle [its unit], one sigma of its logarithm [1], which rows would show it, and where it is from."""

    middle: float
    sigma: float
    shown_by: str
    source: str = "five other runs"


Assumed: TypeAlias = Mapping[str, float]
"""A value for each term of `PRIORS`, by ``curve.parameter``."""

STAMPS = "rows with the server's own stamps (server_forward_entry_s, server_prefill_finished_s)"
ANSWERED = "rows with server_first_response_s"
TOGETHER = "rows of several hand-offs at once (no fit reads such rows yet)"
LOG_OF_P = "P's log of one run over NVLink"
"""Of h200x2_llama-3.1-8b_sglang-0.5.17_nvlink; `python benchmarks/sends_and_results.py` prints it."""
PRIORS: Mapping[str, Prior] = {
    "frontend.in_s": Prior(middle=3.3e-3, sigma=0.25, shown_by=STAMPS),
    "frontend.in_s_per_token": Prior(middle=2.1e-7, sigma=0.35, shown_by=STAMPS),
    "frontend.out_s": Prior(middle=1.5e-3, sigma=0.25, shown_by=ANSWERED),
    "prefill.prepare_s": Prior(
        middle=2.9e-3, sigma=0.25, shown_by="interference rows with window_sum_s, of appends of one chunk"
    ),
    "prefill.further_share": Prior(middle=0.036, sigma=0.4, shown_by="appends of more than one chunk"),
    "decode.start_s": Prior(
        middle=2.4e-3, sigma=0.25, shown_by="itl_s of an append and of a hand-off at the same tokens"
    ),
    "handoff.join_s": Prior(middle=8e-4, sigma=0.5, shown_by=ANSWERED),
    "handoff.handshake_s": Prior(middle=1.5e-3, sigma=0.4, shown_by=TOGETHER, source=LOG_OF_P),
    "handoff.beside_send_s": Prior(middle=6e-3, sigma=0.3, shown_by=TOGETHER, source=LOG_OF_P),
    "handoff.request_result_s": Prior(middle=5.4e-3, sigma=0.3, shown_by=TOGETHER, source=LOG_OF_P),
}


def middles() -> Assumed:
    """Return every prior's middle."""
    return {name: prior.middle for name, prior in PRIORS.items()}


def drawn(draws: int) -> Iterator[Assumed]:
    """Yield one set of values a bootstrap draw."""
    rng = np.random.default_rng(ASSUMED_SEED)
    for _ in range(draws):
        z = rng.standard_normal(len(PRIORS))
        yield {name: p.middle * math.exp(p.sigma * x) for (name, p), x in zip(PRIORS.items(), z.tolist(), strict=True)}


def unshown(cells: Grid, chunk_tokens: int) -> dict[str, tuple[str, ...]]:
    """Return the terms that these cells do not show, by the name of their curve's record."""
    append, one_chunk = cells.append, cells.stall.new_tokens <= chunk_tokens
    missing: dict[str, tuple[str, ...]] = {
        "frontend": (
            *(() if len(known(append.outside_s)) else ("in_s", "in_s_per_token")),
            *(() if len(known(append.after_s)) else ("out_s",)),
        ),
        "prefill": (
            *(() if len(known(cells.stall.lost_s[one_chunk])) else ("prepare_s",)),
            *(() if (append.new_tokens > chunk_tokens).any() else ("further_share",)),
        ),
        "decode": () if any(len(known(extra_s(append, group))) for group in cells.handoffs) else ("start_s",),
    }
    for group in cells.handoffs:
        joined = () if len(known(group.after_s)) else ("join_s",)
        tasks = ("handshake_s", "request_result_s", "beside_send_s") if group.transport is Transport.NVLINK else ()
        missing[arm_name(group.arm, group.transport)] = (*joined, *tasks)
    return {name: terms for name, terms in missing.items() if terms}


def extra_s(append: Cells, handoffs: Cells) -> list[float]:
    """Return what short answers after hand-offs took beyond those after appends of the same tokens [s].

    One number a cell that both have; nan where either lacks its gaps.
    """
    unified = {
        (c, m): itl for c, m, itl in zip(append.cached_tokens, append.new_tokens, append.short_itl_s, strict=True)
    }
    return [
        float((itl - unified[c, m]) * gaps)
        for c, m, itl, gaps in zip(
            handoffs.cached_tokens, handoffs.new_tokens, handoffs.short_itl_s, handoffs.short_gaps, strict=True
        )
        if (c, m) in unified
    ]


def sentence(name: str, terms: tuple[str, ...]) -> str:
    """Return what a profile notes of a curve's assumed terms."""
    kind = "handoff" if ":" in name or name == Arm.P_FULL.value else name
    priors = [PRIORS[f"{kind}.{term}"] for term in terms]
    wanted = "; ".join(dict.fromkeys(prior.shown_by for prior in priors))
    sources = " or ".join(dict.fromkeys(prior.source for prior in priors))
    listed = ", ".join(f"{name}.{term}" for term in terms)
    return f"{listed}: assumed (a named prior from {sources}); measured by {wanted}"
