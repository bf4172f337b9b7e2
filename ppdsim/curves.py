"""The registry of cost curves: a new curve is one new file, one line here, and one entry in tests/curve_cases.py."""

from __future__ import annotations

from ppdsim.cost.base import AbstractCurve
from ppdsim.cost.decode import DecodeCurve
from ppdsim.cost.frontend import FrontendCurve
from ppdsim.cost.prefill import PrefillCurve
from ppdsim.cost.stall import StallCurve
from ppdsim.registry import Registry
from ppdsim.transport.handoff import HandoffCurve
from ppdsim.transport.wire import WireCurve

CURVES: Registry[type[AbstractCurve]] = Registry(
    "curve",
    {
        PrefillCurve.kind: PrefillCurve,
        DecodeCurve.kind: DecodeCurve,
        StallCurve.kind: StallCurve,
        FrontendCurve.kind: FrontendCurve,
        HandoffCurve.kind: HandoffCurve,
        WireCurve.kind: WireCurve,
    },
)
