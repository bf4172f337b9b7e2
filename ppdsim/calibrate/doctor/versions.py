"""Which versions go together, from the packages' own metadata on PyPI (sglang 0.5.5.post3 to 0.5.23, read 2026-08).

A row says what a release of SGLang pins, up to the next row's release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What a release of SGLang needs; `kernel` is the name and version of its kernel package."""

    sglang: str
    torch: str
    kernel: str
    kernel_version: str
    transformers: str


PINS = (
    Pins(sglang="0.5.5", torch="2.8.0", kernel="sgl-kernel", kernel_version="0.3.17", transformers="4.57.1"),
    Pins(sglang="0.5.6", torch="2.9.1", kernel="sgl-kernel", kernel_version="0.3.19", transformers="4.57.1"),
    Pins(sglang="0.5.7", torch="2.9.1", kernel="sgl-kernel", kernel_version="0.3.20", transformers="4.57.1"),
    Pins(sglang="0.5.8", torch="2.9.1", kernel="sgl-kernel", kernel_version="0.3.21", transformers="4.57.1"),
    Pins(sglang="0.5.10", torch="2.9.1", kernel="sglang-kernel", kernel_version="0.4.1", transformers="5.3.0"),
    Pins(sglang="0.5.11", torch="2.11.0", kernel="sglang-kernel", kernel_version="0.4.2", transformers="5.6.0"),
    Pins(sglang="0.5.13", torch="2.11.0", kernel="sglang-kernel", kernel_version="0.4.3", transformers="5.8.1"),
    Pins(sglang="0.5.15", torch="2.11.0", kernel="sglang-kernel", kernel_version="0.4.4", transformers="5.12.1"),
    Pins(sglang="0.5.16", torch="2.11.0", kernel="sglang-kernel", kernel_version="0.4.5", transformers="5.12.1"),
    Pins(sglang="0.5.18", torch="2.13.0", kernel="sglang-kernel", kernel_version="0.4.6", transformers="5.12.1"),
    Pins(sglang="0.5.22", torch="2.14.1", kernel="sglang-kernel", kernel_version="0.4.9", transformers="5.19.0"),
)
"""Ascending."""
CUDA_13_SINCE = "0.5.11"
"""From this release of SGLang on the wheels are built for CUDA 13, and mooncake has a package of its own for it."""


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's leading numbers, for comparison.

    >>> numbers("0.5.5.post3"), numbers("2.11.0+cu130")
    ((0, 5, 5), (2, 11, 0))
    """
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0].split("post")[0])[:3])


def pins_of(sglang: str) -> Pins | None:
    """Return what a release of SGLang pins; None for one older than the table.

    >>> pins_of("0.5.17").torch
    '2.11.0'
    """
    known = [pins for pins in PINS if numbers(pins.sglang) <= numbers(sglang)]
    return known[-1] if known else None
