"""From a profile to a :class:`~ppdsim.turn.TurnModel`: the central values, or all draws at once.

Two sets of samples answer two questions. *Within run*: what do the misfit and the noise of this run leave open?
*Another run*: what if the machine drifts between runs (docs/explanation/model.md, "The decision")? The second replaces
the launch floor, and scales the link and the compute rate of every draw by the profile's drift. A parameter that states
an interval and has no draws of its own (of an unmeasured hand-off) is drawn from that interval in both sets. The
samples are reproducible: the profile's draws carry no random numbers, and drift and priors take their quantiles from
generators seeded with `DRIFT_SEED` and `PRIOR_SEED`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TypeVar

import numpy as np

from ppdsim.cost.base import AbstractCurve, Array, Quantity
from ppdsim.cost.decode import DecodeCurve
from ppdsim.cost.frontend import FrontendCurve
from ppdsim.cost.prefill import PrefillCurve
from ppdsim.cost.stall import StallCurve
from ppdsim.curves import CURVES
from ppdsim.errors import InputError, ProfileError
from ppdsim.metrics import interval_90
from ppdsim.profile import CurveRecord, Drift, Profile
from ppdsim.transport.handoff import HandoffCurve
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport

DRIFT_SEED = 20260823
"""Seed of the drift's quantiles: a profile gives the same intervals everywhere."""
PRIOR_SEED = 20261127
"""Seed of the quantiles of unmeasured parameters."""
C = TypeVar("C", bound=AbstractCurve)
HALF_NORMAL_90 = 1.6448536269514722
"""Standard normal quantile at 95 %, half of a two-sided 90 % interval [sigma]."""
UNMEASURED_SIGMA = 0.25
"""Relative one-sigma error of what was not measured [1]: a named prior, wide enough to be seen. Numbers of a hand-off
that is built from another have it, and so has a curve of which cross-validation could leave nothing out."""


def _values(record: CurveRecord) -> dict[str, Quantity]:
    return {parameter.name: parameter.value for parameter in record.parameters}


def _samples(record: CurveRecord, draws: int) -> dict[str, Quantity]:
    """Return a curve's parameters: the fitted ones as they were drawn, others that state an interval from that."""
    values = _values(record)
    priors = [p for p in record.parameters if p.low < p.high and p.name not in record.draw_names]
    if priors:
        # One error for all unmeasured parameters: RDMA with and without a prefix is the same link.
        quantiles = _stratified(np.random.default_rng(PRIOR_SEED), draws)
        values.update({p.name: _log_normal(p.low, p.high, quantiles) for p in priors})
    if record.draws:
        table = np.asarray(record.draws, dtype=np.float64)
        if len(table) != draws:
            raise ProfileError(f"curve '{record.name}' has {len(table)} draws, others have {draws}")
        values.update({name: table[:, [i]] for i, name in enumerate(record.draw_names)})
    return values


def _compose(profile: Profile, values: Mapping[str, dict[str, Quantity]]) -> TurnModel:
    """Build the model from parameters by curve name; an error names the profile and the command that fits it."""
    try:
        return _composed(profile, values)
    except InputError as problem:
        again = "'ppdsim fit' fits a profile again from its measurements"
        raise type(problem)(f"{profile.origin}: {problem}; {again}") from None


def _composed(profile: Profile, values: Mapping[str, dict[str, Quantity]]) -> TurnModel:
    for record in profile.curves:
        CURVES[record.kind]
    handoffs = {
        (record.arm, record.transport): HandoffCurve.from_values(values[record.name])
        for record in profile.curves
        if record.arm is not None and record.transport is not None
    }
    for kind in ("prefill", "decode", "stall", "frontend"):
        profile.curve(kind)
    return TurnModel(
        prefill=PrefillCurve.from_values(
            values["prefill"], graph_sizes_tokens=profile.engine.prefill_graph_sizes_tokens
        ),
        decode=DecodeCurve.from_values(values["decode"], graph_sizes=profile.engine.decode_graph_sizes),
        stall=StallCurve.from_values(values["stall"]),
        frontend=FrontendCurve.from_values(values["frontend"]),
        handoffs=handoffs,
        chunked_prefill_size=profile.chunked_prefill_size,
        page_size_tokens=profile.page_size_tokens,
        kv_bytes_per_token=profile.model.kv_bytes_per_token,
        engine=profile.engine,
    )


def central(profile: Profile) -> TurnModel:
    """Return the model at the fitted values: every parameter a float."""
    return _compose(profile, {record.name: _values(record) for record in profile.curves})


def samples(profile: Profile, *, another_run: bool) -> TurnModel:
    """Return the model whose parameters are columns of draws, shape (draws, 1).

    Raises
    ------
    ProfileError
        If curves differ in their number of draws.
    """
    draws = _draw_count(profile)
    model = _compose(profile, {record.name: _samples(record, draws) for record in profile.curves})
    return _drifted(model, profile, draws) if another_run else model


def some_draws(profile: Profile, count: int, *, another_run: bool) -> list[TurnModel]:
    """Return `count` evenly picked draws as models of floats, for simulations; all of them at most."""
    total = _draw_count(profile)
    model = samples(profile, another_run=another_run)
    return [scalar(model, round(number)) for number in np.linspace(0, total - 1, min(count, total))]


def _draw_count(profile: Profile) -> int:
    return max(len(record.draws) for record in profile.curves)


def with_floor(model: TurnModel, floor_s: Quantity) -> TurnModel:
    """Return the model with another launch floor.

    The launch that hides behind a step is the same host work and moves with it.
    """
    return replace(
        model,
        stall=replace(model.stall, launch_s=model.stall.launch_s * floor_s / model.prefill.floor_s),
        prefill=replace(model.prefill, floor_s=floor_s),
    )


def with_compute(model: TurnModel, factor: Quantity) -> TurnModel:
    """Return the model with every rate of the GPU slower by a factor [1]; the host's launch stays."""
    prefill, decode = model.prefill, model.decode
    return replace(
        model,
        prefill=replace(
            prefill,
            token_s=prefill.token_s * factor,
            attention_s_per_token2=prefill.attention_s_per_token2 * factor,
        ),
        decode=replace(
            decode,
            floor_s=decode.floor_s * factor,
            row_s=decode.row_s * factor,
            context_s_per_token=decode.context_s_per_token * factor,
        ),
    )


def with_wire(model: TurnModel, factor: Quantity) -> TurnModel:
    """Return the model with every link slower by a factor [1]."""
    handoffs = {
        key: replace(
            curve,
            wire_s_per_token=curve.wire_s_per_token * factor,
            fresh_wire_s_per_token=curve.fresh_wire_s_per_token * factor,
        )
        for key, curve in model.handoffs.items()
    }
    return replace(model, handoffs=handoffs)


def scalar(model: TurnModel, number: int) -> TurnModel:
    """Return row `number` of a model of draws, as floats."""

    def pick(curve: C) -> C:
        return curve.with_values(
            {k: v if isinstance(v, (int, float)) else float(v[number, 0]) for k, v in curve.parameter_values().items()}
        )

    return replace(
        model,
        prefill=pick(model.prefill),
        decode=pick(model.decode),
        stall=pick(model.stall),
        frontend=pick(model.frontend),
        handoffs={key: pick(curve) for key, curve in model.handoffs.items()},
    )


def _stratified(rng: np.random.Generator, draws: int) -> Array:
    """Return one quantile a draw, shape (draws, 1), in random order: 200 draws then cover a range evenly."""
    return np.asarray(((rng.permutation(draws) + 0.5) / draws)[:, None])


def _log_normal(low: float, high: float, quantiles: Array) -> Array:
    """Return the quantiles of a log-normal whose 90 % interval is `low` to `high`."""
    z = np.array([NormalDist().inv_cdf(float(q)) for q in quantiles[:, 0]])[:, None]
    middle, half = 0.5 * np.log(high * low), 0.5 * np.log(high / low)
    return np.asarray(np.exp(middle + half / HALF_NORMAL_90 * z))


def _spread(drift: Drift, quantiles: Array) -> Array:
    """Return one value a draw, log-uniform over an absolute range, log-normal for a factor."""
    if drift.scale == "absolute":
        return np.asarray(drift.low * (drift.high / drift.low) ** quantiles)
    return _log_normal(drift.low, drift.high, quantiles)


def _drifted(model: TurnModel, profile: Profile, draws: int) -> TurnModel:
    rng = np.random.default_rng(DRIFT_SEED)
    columns = {q: _stratified(rng, draws) for q in ("floor_s", "wire_s_per_token", "compute")}
    floor = profile.drift_of("floor_s")
    if floor is not None:
        model = with_floor(model, _spread(floor, columns["floor_s"]))
    compute = profile.drift_of("compute")
    if compute is not None:
        model = with_compute(model, _spread(compute, columns["compute"]))
    wire = profile.drift_of("wire_s_per_token")
    if wire is not None:
        model = with_wire(model, _spread(wire, columns["wire_s_per_token"]))
    return model


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The 90 % interval of a quantity, elementwise."""

    low: Array
    high: Array


def band(samples: Array, misfit: Quantity) -> Band:
    """Return the 90 % interval of `samples` (draws on axis 0), widened by a relative misfit of one sigma `misfit`.

    The misfit is log-normal and independent of the draws; its nine equally likely quantiles are crossed with them.
    """
    nodes = np.array([NormalDist().inv_cdf((i + 0.5) / 9) for i in range(9)])
    nodes *= 1.0 / np.sqrt(np.mean(nodes**2))
    factors = np.exp(np.multiply.outer(nodes, misfit)).reshape(9, 1, -1)
    crossed = (samples[None, :, :] * factors).reshape(-1, samples.shape[-1])
    low, high = interval_90(crossed, axis=0)
    return Band(low=low, high=high)


def misfit_of(profile: Profile, kind: str, arm: Arm, transport: Transport) -> float:
    """Return the relative misfit (one sigma) of a prediction: its hand-off's for a P arm, else its own curve's."""
    if kind != "prefill":
        return profile.curve(kind).misfit
    if arm is Arm.APPEND_D:
        return profile.curve("prefill").misfit
    return profile.curve("handoff", arm, transport).misfit
