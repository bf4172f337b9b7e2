"""Does a calibration through real sockets and the real router give back the profile that drives the stand-in?

    python benchmarks/recovery_through_sockets.py [TIME_SCALE]

Measures stand-in servers, fits, and compares every cell with the driving profile; ends with 1 if the fitted profile is
off by more than 2 % on one. The servers run TIME_SCALE times slower than the profile (default 40: nine minutes), so
that what sockets and this machine add weighs that much less: 5 to 8 ms on two cores, or 1 to 1.5 % of the smallest
cell at that scale. The same on a virtual clock, exact, is tests/measure/test_recovery.py.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

from pydantic import BaseModel
from recovered import RecoveredCell, recovered

from ppdsim import compose, measurements
from ppdsim.engines import ENGINES
from ppdsim.engines.client import Endpoints
from ppdsim.engines.sglang.standin.build import load_profile
from ppdsim.engines.sglang.standin.stack import FakeStack
from ppdsim.engines.stand_in import DEFAULT_PROFILE, StackOptions
from ppdsim.measure.calibrate import Machine, fit, measure
from ppdsim.measure.journal import POINTS, read_rows
from ppdsim.measure.machine import gpu_of
from ppdsim.measure.plan import load_plan
from ppdsim.measure.service import joined
from ppdsim.measurements import MeasuredRow, Model, read_manifest
from ppdsim.types import Transport

WITHIN = 0.02
"""Error of a cell above which the profile was not recovered [1]."""
PLAN = """\
schema: ppdsim/plan/1
name: sockets
append: {cached_tokens: [0, 4096], new_tokens: [64, 256, 1024, 4096]}
handoff: {cached_tokens: [0, 4096], new_tokens: [64, 1024, 4096]}
decode: {batch: [1, 4], prompt_tokens: [256, 2048]}
stall: {batch: [2, 4], prompt_tokens: 256, turns: [[1024, 256], [0, 1024]]}
validation: {prefill: [[1024, 600]]}
repeats: {least: 2, most: 3, half_width: 0.02}
repeats_of: {decode: {least: 1, most: 1}, interference: {least: 1, most: 1}}
passes: 1
probe: {new_tokens: 64, every_s: 60.0}
"""


def main() -> int:
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 40.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plan.yaml").write_text(PLAN)
        model = Model(
            name="stand-in", layers=32, kv_heads=8, query_heads=32, head_dim=128, dtype="bfloat16", dtype_bytes=2,
            matrix_parameters=6.98e9, vocabulary_parameters=0.525e9, weights="none",
        )  # fmt: skip
        gpu = gpu_of(load_profile(DEFAULT_PROFILE).gpu, 1)
        machine = Machine(run_id="sockets", name="stand-in", gpu=gpu, link="none", model=model)
        one = StackOptions(mode="unified", router="none", time_scale=scale)
        pair = StackOptions(mode="pd", router="real", time_scale=scale, transport=Transport.TCP)
        with FakeStack(one) as unified, FakeStack(pair) as split:
            url = unified.urls["unified"]
            servers = (("prefill", split.urls["prefill"]), ("decode", split.urls["decode"]))
            services = [
                joined(
                    ENGINES["sglang"],
                    Endpoints(entry=url, servers=(("unified", url),)),
                    transport=Transport.NONE,
                    decode_radix=False,
                ),
                joined(
                    ENGINES["sglang"],
                    Endpoints(entry=split.urls["router"], servers=servers),
                    transport=Transport.TCP,
                    decode_radix=False,
                ),
            ]
            plan = load_plan(str(folder / "plan.yaml"))
            measure(plan, services, machine, folder / "run", resume=False, show_line=print)
        unscale(folder / "run", scale)
        fitted = fit(folder / "run", show_line=print)
        driven = compose.central(load_profile(DEFAULT_PROFILE))
        cells = recovered(measurements.read(folder / "run"), driven=driven, fitted=compose.central(fitted))
    return verdict(cells)


def unscale(folder: Path, scale: float) -> None:
    """Rewrite a run in the profile's own time, its manifest with it."""
    text = "".join(in_own_time(row, scale).model_dump_json() + "\n" for row in read_rows(folder))
    (folder / POINTS).write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    manifest = read_manifest(folder).model_copy(update={"points_sha256": digest})
    (folder / "manifest.json").write_text(manifest.model_dump_json(by_alias=True))


def in_own_time(row: MeasuredRow, scale: float) -> MeasuredRow:
    """Return a row as servers that run `scale` times faster would have given it: every time divided, rates grown."""
    return row.model_copy(update={name: _changed(name, value, scale) for name, value in row})


def _changed(name: str, value: object, scale: float) -> object:
    if isinstance(value, BaseModel):
        return value.model_copy(update={inner: _changed(inner, content, scale) for inner, content in value})
    if isinstance(value, tuple):
        return tuple(_changed(name, one, scale) for one in value)
    if not isinstance(value, float) or name.endswith("_unix_s"):
        return value
    if name.endswith("_per_s"):
        return value * scale
    return value / scale if name.endswith("_s") else value


def verdict(cells: list[RecoveredCell]) -> int:
    """Print every cell, the worst last, and return the exit code."""
    print(f"{'cell':<42} {'profile, ms':>12} {'measured':>9} {'fitted':>9}")
    for cell in sorted(cells, key=lambda cell: abs(cell.fitted_error)):
        print(f"{cell.cell:<42} {cell.driven_s * 1e3:>12.2f} {cell.measured_error:>+9.1%} {cell.fitted_error:>+9.1%}")
    off = sum(abs(cell.fitted_error) > WITHIN for cell in cells)
    print(f"{len(cells) - off} of {len(cells)} cells within {WITHIN:.0%}")
    return 1 if off or not cells else 0


if __name__ == "__main__":
    sys.exit(main())
