"""SGLang: all that is its own."""

from __future__ import annotations

from ppdsim.engines.base import Engine
from ppdsim.engines.sglang.releases import RELEASES, record

SGLANG = Engine(name="sglang", releases=RELEASES, record=record)
