"""Bounded, robust fits of the cost curves to cells, on relative residuals.

The order follows the composition: append cells give the prefill and front-end curves together (only their sum is seen
at the client; the server's own span tells them apart), decode and stall cells give theirs, and each hand-off is what
its arm's TTFT holds beyond them. A term that the cells at hand cannot tell from zero is left at zero by a weak pull
(`PULL`), so that leaving out all cells without a prefix does not leave the split of a sum to chance. A term that the
cells do not show at all is taken as assumed (`ppdsim.fit.assumed`), never as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ppdsim.cost.base import Array, Parameter, Quantity, pad_up
from ppdsim.cost.decode import DecodeCurve
from ppdsim.cost.frontend import FrontendCurve
from ppdsim.cost.prefill import PrefillCurve
from ppdsim.cost.stall import StallCurve
from ppdsim.engine_record import EngineRecord
from ppdsim.fit.assumed import Assumed, extra_s, middles
from ppdsim.fit.cells import Cells, Grid
from ppdsim.fit.known import known, median_of_known
from ppdsim.transport.handoff import HandoffCurve
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport

ROBUST_SCALE = 0.03
"""Relative residual beyond which a cell counts linearly, not squared [1]; about the link's drift inside a block."""
PULL = 1e-3
"""Weight of the pull of a parameter towards its start, in units of one cell's relative residual [1]."""
"""It breaks ties between terms that the cells cannot tell apart; it moves no identified parameter by 0.1 %."""

DIFFERENCE = float(np.finfo(np.float64).eps) ** 0.5
"""Relative step of the differences that stand for derivatives [1]: half of the digits, as scipy's own."""


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
        From parameters by name to seconds, shape (cells,); from columns of them, shape (n, 1), to shape (n, cells).
    seconds
        What was measured [s], shape (cells,).
    """
    # Here and below, because most of what imports this module fits nothing, and the optimizers take a second to load.
    from scipy.optimize import least_squares

    names = [p.name for p in parameters]
    begin = np.array([start[name] for name in names])
    scale = np.maximum(np.abs(begin), 1e-12)
    low = np.array([p.low for p in parameters]) / scale
    high = np.array([p.high for p in parameters]) / scale

    def residuals(unit: Array) -> Array:
        values: dict[str, Quantity] = dict(zip(names, (unit * scale).tolist(), strict=True))
        return np.concatenate([predict(values) / seconds - 1.0, PULL * (unit - begin / scale)])

    def jacobian(unit: Array) -> Array:
        """Return the forward differences, all of them from one evaluation; a step goes back at an upper bound."""
        step = DIFFERENCE * np.maximum(1.0, np.abs(unit))
        places = unit + np.vstack([np.zeros(len(unit)), np.diag(np.where(unit + step > high, -step, step))])
        values: dict[str, Quantity] = dict(zip(names, (places * scale).T[:, :, None], strict=True))
        every = np.concatenate([predict(values) / seconds - 1.0, PULL * (places - begin / scale)], axis=1)
        return np.asarray((every[1:] - every[0]).T / np.diag(places[1:] - unit))

    found = least_squares(
        residuals,
        np.clip(begin / scale, low, high),
        jac=jacobian,
        bounds=(low, high),
        loss="soft_l1",
        f_scale=ROBUST_SCALE,
    )
    return dict(zip(names, (found.x * scale).tolist(), strict=True))


FREE_PREFILL: tuple[str, ...] = tuple(p.name for p in PrefillCurve.PARAMETERS if p.name != "wave_tokens")
"""What a run shows of the prefill curve; how many rows a wave holds is counted, from model and GPU."""
SHOWN_BESIDE_STREAMS = "prepare_s"
"""What of it only appends beside decoding streams show."""
SHOWN_BY_CHUNKS = "further_share"
"""What of it only prompts of several chunks show."""
MIDDLES: Assumed = middles()
"""What is taken for terms that the cells do not show, unless a draw takes other values."""


def _subset(curve: type[PrefillCurve | FrontendCurve | HandoffCurve | StallCurve], *names: str) -> list[Parameter]:
    return [p for p in curve.PARAMETERS if p.name in names]


def fit_append(
    cells: Cells, chunk_tokens: int, wave_tokens: float, engine: EngineRecord, assumed: Assumed = MIDDLES
) -> tuple[PrefillCurve, FrontendCurve]:
    """Fit T_ext and the front end together to the idle TTFT of appends; `wave_tokens` is known, not fitted.

    Nothing hides in the curve that is returned: `prepared` says what does. Without the server's stamps the front end is
    what is assumed of it, and T_ext the rest.
    """
    after_s = median_of_known(cells.after_s)
    out_s = assumed["frontend.out_s"] if after_s is None else after_s
    spans = np.isfinite(cells.outside_s)
    entry = ("in_s", "in_s_per_token")
    fixed: dict[str, Quantity] = {"wave_tokens": wave_tokens, SHOWN_BESIDE_STREAMS: 0.0, "out_s": out_s}
    if not spans.any():
        fixed.update({name: assumed[f"frontend.{name}"] for name in entry})
    if not (cells.new_tokens > chunk_tokens).any():
        fixed[SHOWN_BY_CHUNKS] = assumed[f"prefill.{SHOWN_BY_CHUNKS}"]
    names = [name for name in (*FREE_PREFILL, *entry) if name not in fixed]
    free = [*_subset(PrefillCurve, *names), *_subset(FrontendCurve, *names)]
    start = {
        "floor_s": 8e-3,
        "token_s": 22e-6,
        "attention_s_per_token2": 0.9e-9,
        "kv_read_s_per_token": 10e-9,
        "overlap_sharpness": 3.0,
        SHOWN_BY_CHUNKS: 0.03,
        "in_s": 3e-3,
        "in_s_per_token": 0.2e-6,
    }

    def split(values: dict[str, Quantity]) -> tuple[PrefillCurve, FrontendCurve]:
        every = {**values, **fixed}
        prefill = {p.name: every[p.name] for p in PrefillCurve.PARAMETERS}
        frontend = {p.name: every[p.name] for p in FrontendCurve.PARAMETERS}
        sizes = engine.prefill_graph_sizes_tokens
        return PrefillCurve.from_values(prefill, graph_sizes_tokens=sizes), FrontendCurve.from_values(frontend)

    def predict(values: dict[str, Quantity]) -> Array:
        prefill, frontend = split(values)
        forward = prefill.seconds(cells.new_tokens, cells.cached_tokens, chunk_tokens)
        outside = frontend.before_s(cells.cached_tokens + cells.new_tokens) + frontend.after_s()
        # The second half compares the server's own span with T_ext, at the weight of a client-side cell.
        return np.concatenate([np.asarray(forward + outside), np.asarray(forward)[..., spans]], axis=-1)

    measured = np.concatenate([cells.seconds, (cells.seconds - cells.outside_s)[spans]])
    return split(dict(solve(free, start, predict, measured)))


def prepared(prefill: PrefillCurve, stall: Cells, chunk_tokens: int, assumed: Assumed = MIDDLES) -> PrefillCurve:
    """Return the curve with what of a launch hides behind a step: T_ext less what streams lose to an append [s].

    The median over appends of one chunk; of several, the further ones have no step before them. A loss above T_ext
    hides nothing, and no more than the floor can be hidden.
    """
    one = stall.pick(stall.new_tokens <= chunk_tokens)
    hidden_s = median_of_known(
        np.asarray(prefill.seconds(one.new_tokens, one.cached_tokens, chunk_tokens) - one.lost_s)
    )
    if hidden_s is None:
        hidden_s = assumed[f"prefill.{SHOWN_BESIDE_STREAMS}"]
    return replace(prefill, prepare_s=min(max(hidden_s, 0.0), float(prefill.floor_s)))


def fit_decode(cells: Cells, start_s: float, engine: EngineRecord) -> DecodeCurve:
    """Fit the decode step: linear in its parameters, so a bounded linear least squares on relative residuals."""
    from scipy.optimize import lsq_linear

    free = [p for p in DecodeCurve.PARAMETERS if p.name != "start_s"]
    rows = np.stack(
        [
            np.ones(len(cells)),
            np.asarray(pad_up(cells.batch, engine.decode_graph_sizes)),
            cells.batch * cells.context_tokens,
        ],
        axis=1,
    )
    scale = np.array([1e-3, 1e-5, 1e-8])
    bounds = (np.array([p.low for p in free]) / scale, np.array([p.high for p in free]) / scale)
    found = lsq_linear(rows * scale / cells.seconds[:, None], np.ones(len(cells)), bounds=bounds)
    values: dict[str, Quantity] = dict(zip([p.name for p in free], (found.x * scale).tolist(), strict=True))
    return DecodeCurve.from_values({**values, "start_s": start_s}, graph_sizes=engine.decode_graph_sizes)


def first_step_s(append: Cells, handoffs: Sequence[Cells]) -> float | None:
    """Return what the first step of an idle decode-mode server takes beyond one that another step hides [s].

    The few tokens after each idle prefill show it: same prompt, same batch, another server mode. On a unified server
    the launch of the first step hides behind the prefill. The gaps after the first one are alike on both. None where no
    such pair has its gaps.
    """
    found = median_of_known(extra for cells in handoffs for extra in extra_s(append, cells))
    return None if found is None else max(0.0, found)


UNMEASURED_HANDOFF_STALL_S = 0.0
"""What a hand-off is assumed to take from streams where no row shows it [s]; results are printed for 2 ms too."""


def fit_stall(
    cells: Cells, handoffs: Cells, prefill: PrefillCurve, decode: DecodeCurve, chunk_tokens: int
) -> StallCurve:
    """Fit the launch that hides behind the running step, and what a hand-off takes."""
    forward = prefill.seconds(cells.new_tokens, cells.cached_tokens, chunk_tokens)
    step = decode.step_s(cells.batch, cells.batch * cells.context_tokens)

    def predict(values: dict[str, Quantity]) -> Array:
        curve = StallCurve.from_values({**values, "handoff_s": 0.0})
        return np.asarray(curve.append_s(forward, step) + step)

    values = solve(_subset(StallCurve, "launch_s"), {"launch_s": 9e-3}, predict, cells.seconds)
    taken_s = median_of_known(
        np.asarray(handoffs.seconds - decode.step_s(handoffs.batch, handoffs.batch * handoffs.context_tokens))
    )
    handoff_s = UNMEASURED_HANDOFF_STALL_S if taken_s is None else max(0.0, taken_s)
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
    "send_s": 10e-3,
    "prefix_s": 5e-3,
    "wire_s_per_token": 1e-6,
    "fresh_wire_s_per_token": 1e-6,
}
"""Where the fit of a hand-off starts; also the scale of the pull on terms that nothing identifies."""


def in_tasks(model: TurnModel, transport: Transport) -> bool:
    """Return whether a send is one task after the other, which has a time of its own whatever its size."""
    return transport is Transport.NVLINK and model.engine.transfer_tasks_per_layer > 0


def free_terms(model: TurnModel, arm: Arm, transport: Transport) -> tuple[str, ...]:
    """Return which terms of a hand-off are fitted; of a handshake and a send an idle cell shows the sum."""
    free = FREE_HANDOFF.get((arm, transport), FREE_HANDOFF_ELSEWHERE)
    if not in_tasks(model, transport):
        return free
    return tuple("send_s" if name == "handshake_s" else name for name in free)


def fit_handoff(cells: Cells, model: TurnModel, assumed: Assumed = MIDDLES) -> HandoffCurve:
    """Fit one arm's hand-off to its idle TTFT, given the prefill and front-end curves of `model`.

    Where a send has a time of its own, the handshake is assumed and the rest of their sum is the send's.
    """
    tasks = in_tasks(model, cells.transport)
    after_s = median_of_known(cells.after_s)
    join_s = assumed["handoff.join_s"] if after_s is None else max(0.0, after_s - float(model.frontend.after_s()))
    free = free_terms(model, cells.arm, cells.transport)
    start = {name: value for name, value in HANDOFF_START.items() if name in free}
    fixed = {
        **dict.fromkeys(HANDOFF_START, 0.0),
        "handshake_s": assumed["handoff.handshake_s"],
        "early_share": EARLY_SHARE[cells.transport],
        "join_s": join_s,
        "request_result_s": assumed["handoff.request_result_s"] * tasks,
        "beside_send_s": assumed["handoff.beside_send_s"] * tasks,
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
    cells: Grid,
    assumed: Assumed = MIDDLES,
    *,
    chunk_tokens: int,
    page_size_tokens: int,
    kv_bytes_per_token: int,
    wave_tokens: float,
    engine: EngineRecord,
) -> TurnModel:
    """Fit every curve of a run to its cells and compose them; what the cells do not show is `assumed`."""
    idle, frontend = fit_append(cells.append, chunk_tokens, wave_tokens, engine, assumed)
    prefill = prepared(idle, cells.stall, chunk_tokens, assumed)
    start_s = first_step_s(cells.append, cells.handoffs)
    decode = fit_decode(cells.decode, assumed["decode.start_s"] if start_s is None else start_s, engine)
    model = TurnModel(
        prefill=prefill,
        decode=decode,
        stall=fit_stall(cells.stall, cells.handoff_stall, prefill, decode, chunk_tokens),
        frontend=frontend,
        handoffs={},
        chunked_prefill_size=chunk_tokens,
        page_size_tokens=page_size_tokens,
        kv_bytes_per_token=kv_bytes_per_token,
        engine=engine,
    )
    for group in cells.handoffs:
        model = model.with_handoff(group.arm, group.transport, fit_handoff(group, model, assumed))
    return model


def terms(cells: Cells) -> int:
    """Return how many terms a fit finds from a group of cells: with fewer cells it would give back its start."""
    if cells.kind == "decode":
        return len(DecodeCurve.PARAMETERS) - 1
    if cells.kind == "stall":
        return 1
    if cells.arm is Arm.APPEND_D:
        shown = 2 if len(known(cells.outside_s)) else 0
        return len(FREE_PREFILL) - len((SHOWN_BESIDE_STREAMS, SHOWN_BY_CHUNKS)) + shown
    return len(FREE_HANDOFF.get((cells.arm, cells.transport), FREE_HANDOFF_ELSEWHERE))
