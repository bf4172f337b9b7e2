"""A profile with the launch floor of the run it is compared with, from that run's own probes.

Probes are idle appends that a run repeats all along to see drift; they are neither fitted nor compared.
"""

from __future__ import annotations

import numpy as np

from ppdsim.fit.anchor import anchor_to
from ppdsim.measurements import Measurements
from ppdsim.profile import Profile
from ppdsim.types import Arm


def anchored(profile: Profile, measured: Measurements, *, beside: int | None = None) -> Profile | None:
    """Return the profile anchored to a run's probes, or to those beside one of its blocks; None without probes.

    Raises
    ------
    InputError
        If no believable launch floor explains the probes.
    """
    probes = [row for row in measured.prefill if row.purpose == "probe" and row.arm is Arm.APPEND_D]
    where = measured.manifest.id
    if beside is not None:
        # A load is one block of its own; a probe stands before it, and the next one in the block after.
        probes = [row for row in probes if row.block is not None and abs(row.block - beside) <= 1]
        where = f"blocks {beside - 1} to {beside + 1} of {where}"
    if not probes:
        return None
    cached, new, ttft = np.array(
        [(row.cached_tokens, row.new_tokens, row.ttft_s) for row in probes], dtype=np.float64
    ).T
    return anchor_to(profile, cached, new, ttft, source=where)
