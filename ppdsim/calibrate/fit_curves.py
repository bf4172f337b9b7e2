"""Bounded, robust fits of the cost curves to cells, on relative residuals.

The order follows the composition: append cells give the prefill and front-end curves together (only their sum is seen
at the client; the server's own span tells them apart), decode and stall cells give theirs, and each hand-off is what
its arm's TTFT holds beyond them. A term that the cells at hand cannot tell from zero is left at zero by a weak pull
(`PULL`), so that leaving out all cells without a prefix does not leave the split of a sum to chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import least_squares, lsq_linear

from ppdsim.calibrate.cells import Cells, Grid
from ppdsim.cost.base import Array, Parameter, Quantity, pad_up
from ppdsim.cost.decode import DECODE_GRAPH_SIZES, DecodeCurve
from ppdsim.cost.frontend import FrontendCurve
from ppdsim.cost.prefill import PrefillCurve
from ppdsim.cost.stall import StallCurve
from ppdsim.transport.handoff import HandoffCurve
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport

ROBUST_SCALE = 0.03
"""Relative residual beyond which a cell counts linearly, not squared [1]; about the link's drift inside a block."""
PULL = 1e-3
"""Weight of the pull of a parameter towards its start, in units of one cell's relative residual [1]."""
"""It breaks ties between terms that the cells cannot tell apart; it moves no identified parameter by 0.1 %."""


def solve(
    parameters: Sequence[Parameter],
    start: Mapping[str, float],
    predict: Callable[[dict[str, Quantity]], Array],
    seconds: Array,
) -> dict[str, float]:
    """Fit named parameters within their bounds so that predict(parameters) / seconds is 1, robustly (soft L1).

    Parameters
    ----------
    parameters
        The free parameters; `start` has a value for each.
    predict
        From parameters by name to seconds, shape (cells,).
    seconds
        What was measured [s], shape (cells,).
    """
    names = [p.name for p in parameters]
    begin = np.array([start[name] for name in names])
    scale = np.maximum(np.abs(begin), 1e-12)
    low = np.array([p.low for p in parameters]) / scale
    high = np.array([p.high for p in parameters]) / scale

    def residuals(unit: Array) -> Array:
        values: dict[str, Quantity] = dict(zip(names, (unit * scale).tolist(), strict=True))
        return np.concatenate([predict(values) / seconds - 1.0, PULL * (unit - begin / scale)])

    found = least_squares(
        residuals, np.clip(begin / scale, low, high), bounds=(low, high), loss="soft_l1", f_scale=ROBUST_SCALE
    )
    return dict(zip(names, (found.x * scale).tolist(), strict=True))


FREE_PREFILL: tuple[str, ...] = tuple(p.name for p in PrefillCurve.PARAMETERS if p.name != "wave_tokens")
"""What a run shows of the prefill curve; how many rows a wave holds is counted, from model and GPU."""
SHOWN_BESIDE_STREAMS = "prepare_s"
"""What of it only appends beside decoding streams show."""


def _subset(curve: type[PrefillCurve | FrontendCurve | HandoffCurve | StallCurve], *names: str) -> list[Parameter]:
    return [p for p in curve.PARAMETERS if p.name in names]


def fit_append(cells: Cells, chunk_tokens: int, wave_tokens: float) -> tuple[PrefillCurve, FrontendCurve]:
    """Fit T_ext and the front end together to the idle TTFT of appends; `wave_tokens` is known, not fitted.

    Nothing hides in the curve that is returned: `prepared` says what does.
    """
    out_s = float(np.nanmedian(cells.join_s))
    idle = (name for name in FREE_PREFILL if name != SHOWN_BESIDE_STREAMS)
    free = [*_subset(PrefillCurve, *idle), *_subset(FrontendCurve, "in_s", "in_s_per_token")]
    start = {
        "floor_s": 8e-3,
        "token_s": 22e-6,
        "attention_s_per_token2": 0.9e-9,
        "kv_read_s_per_token": 10e-9,
        "overlap_sharpness": 3.0,
        "in_s": 3e-3,
        "in_s_per_token": 0.2e-6,
    }

    def split(values: dict[str, Quantity]) -> tuple[PrefillCurve, FrontendCurve]:
        front = {name: values[name] for name in ("in_s", "in_s_per_token")}
        rest = {name: value for name, value in values.items() if name not in front}
        fixed = {"wave_tokens": wave_tokens, SHOWN_BESIDE_STREAMS: 0.0}
        return PrefillCurve.from_values({**rest, **fixed}), FrontendCurve.from_values({**front, "out_s": out_s})

    def predict(values: dict[str, Quantity]) -> Array:
        prefill, frontend = split(values)
        forward = prefill.seconds(cells.new_tokens, cells.cached_tokens, chunk_tokens)
        outside = frontend.before_s(cells.cached_tokens + cells.new_tokens) + frontend.after_s()
        # The second half holds the server's own span against T_ext, at the weight of a client-side cell.
        return np.concatenate([np.asarray(forward + outside), np.asarray(forward)[spans]])

    spans = np.isfinite(cells.outside_s)
    measured = np.concatenate([cells.seconds, (cells.seconds - cells.outside_s)[spans]])
    return split(dict(solve(free, start, predict, measured)))


def prepared(prefill: PrefillCurve, stall: Cells, chunk_tokens: int) -> PrefillCurve:
    """Return the curve with what of a launch hides behind a step: T_ext less what streams lose to an append [s].

    The median over appends of one chunk; the others hide the launch of their further chunks behind their own.
    """
    one = stall.pick(stall.new_tokens <= chunk_tokens)
    if not len(one):
        return prefill
    hidden_s = float(np.median(prefill.seconds(one.new_tokens, one.cached_tokens, chunk_tokens) - one.lost_s))
    return replace(prefill, prepare_s=min(max(hidden_s, 0.0), float(prefill.floor_s)))


def fit_decode(cells: Cells, start_s: float) -> DecodeCurve:
    """Fit the decode step: linear in its parameters, so a bounded linear least squares on relative residuals."""
    free = [p for p in DecodeCurve.PARAMETERS if p.name != "start_s"]
    rows = np.stack(
        [
            np.ones(len(cells)),
            np.asarray(pad_up(cells.batch, DECODE_GRAPH_SIZES)),
            cells.batch * cells.context_tokens,
        ],
        axis=1,
    )
    scale = np.array([1e-3, 1e-5, 1e-8])
    bounds = (np.array([p.low for p in free]) / scale, np.array([p.high for p in free]) / scale)
    found = lsq_linear(rows * scale / cells.seconds[:, None], np.ones(len(cells)), bounds=bounds)
    values: dict[str, Quantity] = dict(zip([p.name for p in free], (found.x * scale).tolist(), strict=True))
    return DecodeCurve.from_values({**values, "start_s": start_s})


def first_step_s(append: Cells, handoffs: Sequence[Cells]) -> float:
    """Return what the first step of an idle decode-mode server takes beyond one that another step hides [s].

    The few tokens after each idle prefill show it: same prompt, same batch, another server mode. On a unified server
    the launch of the first step hides behind the prefill. The gaps after the first one are alike on both.
    """
    unified = {
        (c, m): itl for c, m, itl in zip(append.cached_tokens, append.new_tokens, append.short_itl_s, strict=True)
    }
    extra = [
        (itl - unified[c, m]) * gaps
        for cells in handoffs
        for c, m, itl, gaps in zip(
            cells.cached_tokens, cells.new_tokens, cells.short_itl_s, cells.short_gaps, strict=True
        )
        if (c, m) in unified and np.isfinite(itl)
    ]
    return max(0.0, float(np.median(extra))) if extra else 0.0


def fit_stall(
    cells: Cells, handoffs: Cells, prefill: PrefillCurve, decode: DecodeCurve, chunk_tokens: int
) -> StallCurve:
    """Fit the launch that hides behind the running step, and what a hand-off takes: 0 where none was measured."""
    forward = prefill.seconds(cells.new_tokens, cells.cached_tokens, chunk_tokens)
    step = decode.step_s(cells.batch, cells.batch * cells.context_tokens)

    def predict(values: dict[str, Quantity]) -> Array:
        curve = StallCurve.from_values({**values, "handoff_s": 0.0})
        return np.asarray(curve.append_s(forward, step) + step)

    values = solve(_subset(StallCurve, "launch_s"), {"launch_s": 9e-3}, predict, cells.seconds)
    handoff_s = 0.0
    if len(handoffs):
        undisturbed = decode.step_s(handoffs.batch, handoffs.batch * handoffs.context_tokens)
        handoff_s = max(0.0, float(np.median(handoffs.seconds - undisturbed)))
    return StallCurve.from_values({**values, "handoff_s": handoff_s})


FREE_HANDOFF: Mapping[tuple[Arm, Transport], tuple[str, ...]] = {
    (Arm.P_FULL, Transport.NVLINK): ("handshake_s", "prefix_s", "wire_s_per_token"),
    (Arm.P_FULL, Transport.TCP): ("handshake_s", "wire_s_per_token"),
    (Arm.P_DELTA, Transport.TCP): ("handshake_s", "prefix_s", "wire_s_per_token", "fresh_wire_s_per_token"),
}
"""Which hand-off terms cross-validation keeps for an arm and transport; the others are 0."""
FREE_HANDOFF_ELSEWHERE = ("handshake_s", "prefix_s", "wire_s_per_token")
"""The terms of an arm and transport that the first grid did not hold."""
EARLY_SHARE: Mapping[Transport, float] = {Transport.NVLINK: 0.0, Transport.TCP: 1.0, Transport.RDMA: 1.0}
"""Share of the cached prefix sent beside the forward [1], by transport; chosen by cross-validation, RDMA by analogy."""


HANDOFF_START: Mapping[str, float] = {
    "handshake_s": 10e-3,
    "prefix_s": 5e-3,
    "wire_s_per_token": 1e-6,
    "fresh_wire_s_per_token": 1e-6,
}
"""Where the fit of a hand-off starts; also the scale of the pull on terms that nothing identifies."""


def fit_handoff(cells: Cells, model: TurnModel) -> HandoffCurve:
    """Fit one arm's hand-off to its idle TTFT, given the prefill and front-end curves of `model`."""
    join_s = max(0.0, float(np.nanmedian(cells.join_s)) - float(model.frontend.after_s()))
    free = FREE_HANDOFF.get((cells.arm, cells.transport), FREE_HANDOFF_ELSEWHERE)
    start = {name: value for name, value in HANDOFF_START.items() if name in free}
    fixed = {
        **dict.fromkeys(HANDOFF_START, 0.0),
        "early_share": EARLY_SHARE[cells.transport],
        "join_s": join_s,
    }

    def predict(values: dict[str, Quantity]) -> Array:
        curve = HandoffCurve.from_values({**fixed, **values})
        trial = model.with_handoff(cells.arm, cells.transport, curve)
        return np.asarray(
            trial.ttft_s(cells.arm, cells.transport, cells.cached_tokens, cells.new_tokens, cells.prefill_cached_tokens)
        )

    values: dict[str, Quantity] = dict(solve(_subset(HandoffCurve, *free), start, predict, cells.seconds))
    return HandoffCurve.from_values({**fixed, **values})


def fit_model(
    cells: Grid, *, chunk_tokens: int, page_size_tokens: int, kv_bytes_per_token: int, wave_tokens: float
) -> TurnModel:
    """Fit every curve of a run to its cells and compose them."""
    idle, frontend = fit_append(cells.append, chunk_tokens, wave_tokens)
    prefill = prepared(idle, cells.stall, chunk_tokens)
    decode = fit_decode(cells.decode, first_step_s(cells.append, cells.handoffs))
    model = TurnModel(
        prefill=prefill,
        decode=decode,
        stall=fit_stall(cells.stall, cells.handoff_stall, prefill, decode, chunk_tokens),
        frontend=frontend,
        handoffs={},
        chunked_prefill_size=chunk_tokens,
        page_size_tokens=page_size_tokens,
        kv_bytes_per_token=kv_bytes_per_token,
    )
    for group in cells.handoffs:
        model = model.with_handoff(group.arm, group.transport, fit_handoff(group, model))
    return model
