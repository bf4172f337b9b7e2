"""A profile's curves and drift on another machine: values, draws, tags, intervals.

Each draw goes through the law of its parameter (`terms`) and is multiplied by an error whose sigma is what the
published tables showed for that kind of transfer (`errors`). One error a kind of quantity, not one a parameter: if
weights read slower than thought, KV does too. A parameter that is 0, or was assumed, keeps its value and tag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ppdsim.compose import HALF_NORMAL_90
from ppdsim.cost.base import Array, Quantity
from ppdsim.derive.errors import TransferErrors
from ppdsim.derive.machine import Machine
from ppdsim.derive.terms import MOVES_KV, PEER_WIRE, TERMS, Term
from ppdsim.machine.hardware import Link
from ppdsim.metrics import interval_90
from ppdsim.profile import CurveRecord, Drift, ParameterRecord, Profile
from ppdsim.types import Tag, Transport

ERROR_SEED = 20261123
"""Seed of the transfer errors' quantiles: a derived profile is the same everywhere."""
SIGNIFICANT_DIGITS = 5
"""Digits kept of a draw, as in a fitted profile."""
WIRE = "wire_s_per_token"
FRESH_WIRE = "fresh_wire_s_per_token"
NOT_TESTED: dict[str, object] = {
    "cells": 0,
    "in_sample": None,
    "left_out": None,
    "repeat_noise": None,
    "coverage_within_run": None,
}
"""What a derived curve does not have: cells."""


def normal_errors(profile: Profile) -> dict[str, Array]:
    """Return one standard normal error a draw for each kind of quantity, stratified so that few draws cover it."""
    count = max(len(record.draws) for record in profile.curves)
    rng = np.random.default_rng(ERROR_SEED)
    names = sorted({term.quantity for laws in TERMS.values() for term in laws.values()})
    levels = [NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)]
    return {name: rng.permutation(np.array(levels)) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mover:
    """Moves curves and drift from one machine to another."""

    source: Machine
    target: Machine
    kinds: tuple[str, ...]
    errors: TransferErrors
    link: Link | None
    z: Mapping[str, Array]

    def curve(self, record: CurveRecord) -> CurveRecord:
        """Return a curve on the target."""
        if not self.kinds and (self.link is None or record.transport is not self.link.transport):
            return record
        table = np.asarray(record.draws, dtype=np.float64)
        samples: dict[str, Array] = {}
        parameters: list[ParameterRecord] = []
        for parameter in record.parameters:
            term = self._term(record, parameter.name)
            tag = self._tag(record, parameter, term)
            value = float(np.asarray(self._moved(record, parameter.name, term, parameter.value)))
            column: Array = np.array([value])
            if record.draws:
                drawn = parameter.name in record.draw_names
                old = table[:, record.draw_names.index(parameter.name)] if drawn else np.array(parameter.value)
                new = np.asarray(self._moved(record, parameter.name, term, old), dtype=np.float64)
                sigma = self._sigma(record, parameter.name, term)
                column = np.broadcast_to(new * np.exp(sigma * self.z[term.quantity]), len(table))
                if drawn or (sigma and value):
                    samples[parameter.name] = column
            low, high = map(float, interval_90(column))
            if parameter.low < parameter.high and parameter.name not in samples:
                low, high = self._moved_prior(record, parameter, term)
            update = {"value": _round(value), "low": _round(low), "high": _round(high), "tag": tag, "at_bound": False}
            parameters.append(parameter.model_copy(update=update))
        tags = {parameter.tag for parameter in parameters}
        measured = record.tag is Tag.MEASURED and not any(tag.unmeasured for tag in tags)
        rows = np.column_stack(list(samples.values())) if samples else np.empty((0, 0))
        return record.model_copy(
            update={
                "tag": record.tag if measured or record.tag is Tag.MECHANISM else Tag.DERIVED,
                "parameters": tuple(parameters),
                "draw_names": tuple(samples),
                "draws": tuple(tuple(_round(float(x)) for x in row) for row in rows),
                **({} if measured else NOT_TESTED),
            }
        )

    def drift(self, found: Drift) -> Drift:
        """Return a drift on the target: the floor's range moves as the floor does, factors stay."""
        tag = Tag.DERIVED if found.tag is Tag.MEASURED and self.kinds else found.tag
        if found.scale != "absolute":
            return found.model_copy(update={"tag": tag})
        term = TERMS["prefill"]["floor_s"]
        low, high = (float(np.asarray(self._law(term, end))) for end in (found.low, found.high))
        low, high = _wider(low, high, self.errors.together(self.kinds, term.quantity))
        return found.model_copy(update={"low": _round(low), "high": _round(high), "tag": tag})

    def _moved_prior(self, record: CurveRecord, parameter: ParameterRecord, term: Term) -> tuple[float, float]:
        """Return the 90 % interval of an unmeasured number: moved as it is, wider by the transfer's error."""
        ends = (self._moved(record, parameter.name, term, end) for end in (parameter.low, parameter.high))
        low, high = (float(np.asarray(end)) for end in ends)
        return _wider(low, high, self._sigma(record, parameter.name, term))

    def _term(self, record: CurveRecord, name: str) -> Term:
        wires = record.transport is Transport.NVLINK and name in (WIRE, FRESH_WIRE)
        return PEER_WIRE if wires else TERMS[record.kind][name]

    def _law(self, term: Term, value: Quantity) -> Quantity:
        return term.law(self.source, self.target, value, self.errors.reached)

    def _over_link(self, record: CurveRecord, name: str) -> bool:
        replaced = self.link is not None and record.transport is self.link.transport
        return replaced and name in (WIRE, FRESH_WIRE, "handshake_s")

    def _moved(self, record: CurveRecord, name: str, term: Term, value: Quantity) -> Quantity:
        moved = self._law(term, value)
        if self.link is None or not self._over_link(record, name):
            return moved
        if name == "handshake_s":
            return moved + self.link.latency_s
        peer = self.link.transport is Transport.NVLINK
        size = self.target.kv_bytes_per_token if peer else float(self.target.shape.kv_bytes_per_token)
        line = size / self.link.bandwidth_bytes_per_s
        if self.link.transport is Transport.TCP:
            return np.maximum(moved, line) if name == WIRE else moved
        return line + 0.0 * np.asarray(moved) if name == WIRE else 0.0 * np.asarray(moved)

    def _kinds_of(self, term: Term) -> tuple[str, ...]:
        """Return the transfers that a term may feel: another dtype of KV only those that touch KV."""
        return tuple(kind for kind in self.kinds if kind != "kv" or term.law in MOVES_KV)

    def _sigma(self, record: CurveRecord, name: str, term: Term) -> float:
        sigma = self.errors.together(self._kinds_of(term), term.quantity)
        return float(np.hypot(sigma, self.errors.sigma["link"]["link"])) if self._over_link(record, name) else sigma

    def _tag(self, record: CurveRecord, parameter: ParameterRecord, term: Term) -> Tag:
        if self._over_link(record, parameter.name):
            return Tag.DATA_SHEET
        if parameter.tag is not Tag.MEASURED:
            return parameter.tag
        elsewhere = "gpu" in self.kinds or "architecture" in self.kinds
        return (
            Tag.DERIVED
            if elsewhere or self.errors.together(self._kinds_of(term), term.quantity) > 0.0
            else parameter.tag
        )


def _round(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def _wider(low: float, high: float, sigma: float) -> tuple[float, float]:
    """Return the 90 % interval `low` to `high` of a log-normal with an independent error of `sigma` added."""
    middle, half = 0.5 * np.log(low * high), 0.5 * np.log(high / low)
    half = np.hypot(half, HALF_NORMAL_90 * sigma)
    return float(np.exp(middle - half)), float(np.exp(middle + half))
