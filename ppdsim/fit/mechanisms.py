"""Hand-offs that the measured grid does not hold, built from those it does. Each is tagged `mechanism, unmeasured`.

* delta over NVLink: the parameters of the full transfer over NVLink; only what D lacks travels.
* RDMA: the handshake of NVLink, and a wire at the bandwidth that SGLang's own documents publish. All layers leave in
  one batch; only a pool of NVLink memory has a task a buffer (SGLang 0.5.17, disaggregation/mooncake/conn.py).

Nothing shows how far off they are: each of their times gets a named prior, from which `ppdsim.compose` draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from ppdsim.compose import HALF_NORMAL_90, UNMEASURED_SIGMA
from ppdsim.transport.handoff import HandoffCurve
from ppdsim.types import Arm, Transport

BUILT_FROM = (Arm.P_FULL, Transport.NVLINK)
"""The measured hand-off whose parts the others are built from."""
RDMA_BYTES_PER_S = 41e9
"""One 400 Gb/s NIC at 82 % of its line rate [B/s]; the share is that of 164 GB/s over four such NICs, Mooncake's
docs/source/performance (SGLang 1P1D, Qwen3-235B)."""
WIDEST = 10.0
"""Factor below its value at which the draws of a number are cut off that may as well be 0 [1]."""


def prior_interval(value: float, low: float, high: float) -> tuple[float, float]:
    """Return the 90 % interval of an unmeasured number above 0, at `value` by its mechanism.

    `low` and `high` bound what it was built from; the prior comes on top, in squares of logarithms, on either side.

    >>> low, high = prior_interval(10e-3, 10e-3, 15e-3)
    >>> round(1e3 * low, 2), round(1e3 * high, 2)
    (6.63, 17.82)
    """
    half = HALF_NORMAL_90 * UNMEASURED_SIGMA
    down = math.hypot(math.log(value / max(low, value / WIDEST)), half)
    up = math.hypot(math.log(high / value), half)
    return value * math.exp(-down), value * math.exp(up)


def unmeasured(
    measured: Mapping[tuple[Arm, Transport], HandoffCurve], kv_bytes_per_token: int
) -> dict[tuple[Arm, Transport], HandoffCurve]:
    """Return the hand-offs that can be derived from `measured` and are not in it."""
    nvlink = measured.get(BUILT_FROM)
    if nvlink is None:
        return {}
    in_one_batch = dict.fromkeys(("send_s", "request_result_s", "beside_send_s"), 0.0)
    rdma = replace(nvlink, wire_s_per_token=kv_bytes_per_token / RDMA_BYTES_PER_S, early_share=1.0, **in_one_batch)
    derived = {
        (Arm.P_DELTA, Transport.NVLINK): nvlink,
        (Arm.P_FULL, Transport.RDMA): rdma,
        (Arm.P_DELTA, Transport.RDMA): rdma,
    }
    return {key: curve for key, curve in derived.items() if key not in measured}
