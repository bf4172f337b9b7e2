"""Records of other programs in the measurement format: recorded grids, and SGLang's own records of requests."""

from __future__ import annotations

from ppdsim.engines.sglang.records.deployment import Deployment
from ppdsim.engines.sglang.records.run import import_records, read_manifest_template

__all__ = ["Deployment", "import_records", "read_manifest_template"]
