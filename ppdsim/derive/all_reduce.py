"""The law of the all-reduces that tensor parallelism adds, against a table of them: messages as long as a chunk's.

A token of hidden size 4096 adds 8 KiB to each message, so 8 to 64 MiB are the partial sums of 1,024 to 8,192 tokens.
Not counted: all-reduces are a part of `token_s`, whose error over several GPUs a table of matrices gives. What no table
shows is the latency of small messages, which a decode step waits for: these ones wait for their host.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppdsim.derive import published
from ppdsim.derive.check import Check
from ppdsim.derive.machine import ring_share
from ppdsim.derive.terms import Reached
from ppdsim.machine.hardware import gpus


def all_reduce_check(folder: Path, share: Reached) -> Check:
    """Return the check of the ring's bytes over the bandwidth of the GPUs' link."""
    count, size, seconds = published.all_reduces(folder)
    ring = np.array([ring_share(each) for each in count])
    link = gpus()["H100-SXM"].peer.bandwidth_bytes_per_s * share.link_share
    return Check(
        transfer="tp",
        quantity="all-reduce",
        what="all-reduces of 8 to 64 MiB on 2, 4 and 8 H100, by a ring's bytes (Vidur)",
        predicted_s=ring * size / link,
        measured_s=seconds,
        counted=False,
    )
