"""Which versions go together, from the packages' own metadata on PyPI (sglang 0.5.5.post3 to 0.5.23, read 2026-08).

A row says what a release of SGLang pins, up to the next row's release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pins:
    """What a release of SGLang needs: `kernel` names its kernel package, `python` is the oldest (major, minor)."""

    sglang: str
    torch: str
    kernel: str
    kernel_version: str
    flashinfer: str
    transformers: str
    python: tuple[int, int] = (3, 10)


PINS = (
    Pins("0.5.5.post3", "2.8.0", "sgl-kernel", "0.3.17.post1", "0.5.2", "4.57.1"),
    Pins("0.5.6.post2", "2.9.1", "sgl-kernel", "0.3.19", "0.5.3", "4.57.1"),
    Pins("0.5.7", "2.9.1", "sgl-kernel", "0.3.20", "0.5.3", "4.57.1"),
    Pins("0.5.8.post1", "2.9.1", "sgl-kernel", "0.3.21", "0.6.1", "4.57.1"),
    Pins("0.5.9", "2.9.1", "sgl-kernel", "0.3.21", "0.6.3", "4.57.1"),
    Pins("0.5.10.post1", "2.9.1", "sglang-kernel", "0.4.1", "0.6.7.post3", "5.3.0"),
    Pins("0.5.11", "2.11.0", "sglang-kernel", "0.4.2", "0.6.8.post1", "5.6.0"),
    Pins("0.5.12.post1", "2.11.0", "sglang-kernel", "0.4.2.post2", "0.6.11.post1", "5.6.0"),
    Pins("0.5.13.post1", "2.11.0", "sglang-kernel", "0.4.3", "0.6.12", "5.8.1"),
    Pins("0.5.14", "2.11.0", "sglang-kernel", "0.4.4", "0.6.12", "5.8.1"),
    Pins("0.5.15.post1", "2.11.0", "sglang-kernel", "0.4.4", "0.6.12", "5.12.1"),
    Pins("0.5.16", "2.11.0", "sglang-kernel", "0.4.5", "0.6.14", "5.12.1"),
    Pins("0.5.17", "2.11.0", "sglang-kernel", "0.4.5", "0.6.15.post1", "5.12.1"),
    Pins("0.5.18", "2.13.0", "sglang-kernel", "0.4.6.post1", "0.6.17", "5.12.1"),
    Pins("0.5.19", "2.13.0", "sglang-kernel", "0.4.6.post1", "0.6.18", "5.12.1"),
    Pins("0.5.20", "2.13.0", "sglang-kernel", "0.4.7", "0.6.18", "5.12.1"),
    Pins("0.5.22", "2.14.1", "sglang-kernel", "0.4.9", "0.7.1", "5.19.0", python=(3, 11)),
    Pins("0.5.23", "2.14.1", "sglang-kernel", "0.4.10", "0.7.2", "5.19.0", python=(3, 11)),
)
"""Ascending."""
CUDA_13_SINCE = "0.5.11"
"""From this release of SGLang on the wheels are built for CUDA 13, and mooncake has a package of its own for it."""
IN_NODE_SINCE = "0.3.13"
"""From this release on mooncake's CUDA packages can copy KV from GPU to GPU inside a host (``--transport nvlink``)."""

DECODE_RADIX_SINCE = "0.5.12"
"""From this release of SGLang on a decode server that takes KV over mooncake can have a prefix cache."""


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's release number and its post-release, for comparison.

    >>> numbers("0.5.5.post3"), numbers("2.11.0+cu130")
    ((0, 5, 5, 3), (2, 11, 0, 0))
    >>> numbers("0.3.17") < numbers("0.3.17.post1")
    True
    """
    release, _, post = version.split("+")[0].partition("post")
    parts = [int(part) for part in re.findall(r"\d+", release)[:3]]
    return (*parts, *[0] * (3 - len(parts)), int("0" + re.sub(r"\D.*", "", post)))


def pins_of(sglang: str) -> Pins | None:
    """Return what a release of SGLang pins; None for one outside the table.

    A release and its post-releases share a row.

    >>> pins_of("0.5.17").torch, pins_of("0.5.12").kernel_version
    ('2.11.0', '0.4.2.post2')
    >>> pins_of("0.4.9") is None, pins_of("0.6.0") is None
    (True, True)
    """
    release = numbers(sglang)[:3]
    known = [pins for pins in PINS if numbers(pins.sglang)[:3] <= release]
    return known[-1] if known and release <= numbers(PINS[-1].sglang)[:3] else None
