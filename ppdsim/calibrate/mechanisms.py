"""Hand-offs that the measured grid does not hold, built from those it does. Each is tagged `mechanism, unmeasured`.

* delta over NVLink: the parameters of the full transfer over NVLink; only what D lacks travels.
* RDMA: the handshake of NVLink, and a wire at the bandwidth that SGLang's own documents publish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ppdsim.transport.handoff import HandoffCurve
from ppdsim.types import Arm, Transport

RDMA_BYTES_PER_S = 41e9
"""One 400 Gb/s NIC at 82 % of its line rate [B/s]; the share is that of 164 GB/s over four such NICs, Mooncake's
docs/source/performance (SGLang 1P1D, Qwen3-235B)."""
UNMEASURED_MISFIT = 0.25
"""Relative one-sigma misfit of a hand-off that nobody measured [1]: an assumption, wide enough to be seen."""


def unmeasured(
    measured: Mapping[tuple[Arm, Transport], HandoffCurve], kv_bytes_per_token: int
) -> dict[tuple[Arm, Transport], HandoffCurve]:
    """Return the hand-offs that can be derived from `measured` and are not in it."""
    nvlink = measured.get((Arm.P_FULL, Transport.NVLINK))
    if nvlink is None:
        return {}
    rdma = replace(nvlink, wire_s_per_token=kv_bytes_per_token / RDMA_BYTES_PER_S, early_share=1.0)
    derived = {
        (Arm.P_DELTA, Transport.NVLINK): nvlink,
        (Arm.P_FULL, Transport.RDMA): rdma,
        (Arm.P_DELTA, Transport.RDMA): rdma,
    }
    return {key: curve for key, curve in derived.items() if key not in measured}
