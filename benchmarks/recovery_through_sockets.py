"""Does a calibration through real sockets and the real router give back the profile that drives the stand-in?

    python benchmarks/recovery_through_sockets.py [TIME_SCALE]

Stand-in servers run TIME_SCALE times slower than the profile (default 10), so that what sockets and this machine add
weighs a tenth. Prints, an arm a line, the error of what was measured against the profile, and what sockets added.
The same on a virtual clock, exact, is tests/calibrate/live/test_recovery.py.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from ppdsim import compose
from ppdsim.calibrate.drivers.fake.build import DEFAULT_PROFILE, load_profile
from ppdsim.calibrate.drivers.fake.stack import FakeStack, StackOptions
from ppdsim.calibrate.drivers.sglang_http import Endpoints
from ppdsim.calibrate.live.calibrate import Machine, measure
from ppdsim.calibrate.live.hardware import gpu_of
from ppdsim.calibrate.live.joined import joined
from ppdsim.calibrate.live.journal import read_rows
from ppdsim.calibrate.live.plan import load_plan
from ppdsim.measurements import Model, PrefillRow
from ppdsim.types import Transport

PLAN = """\
schema: ppdsim/plan/1
name: sockets
append: {cached_tokens: [0, 4096], new_tokens: [64, 256, 1024, 4096]}
handoff: {cached_tokens: [0, 4096], new_tokens: [64, 1024, 4096]}
repeats: {least: 2, most: 3, half_width: 0.02}
"""


def main() -> None:
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plan.yaml").write_text(PLAN)
        model = Model(
            name="stand-in", layers=32, kv_heads=8, query_heads=32, head_dim=128, dtype="bfloat16", dtype_bytes=2,
            matrix_parameters=6.98e9, vocabulary_parameters=0.525e9, weights="none",
        )  # fmt: skip
        machine = Machine(run_id="sockets", name="stand-in", gpu=gpu_of("none", 0), link="none", model=model)
        one = StackOptions(mode="unified", router="none", time_scale=scale)
        pair = StackOptions(mode="pd", router="real", time_scale=scale, transport=Transport.TCP)
        with FakeStack(one) as unified, FakeStack(pair) as split:
            url = unified.urls["unified"]
            servers = (("prefill", split.urls["prefill"]), ("decode", split.urls["decode"]))
            services = [
                joined(Endpoints(entry=url, servers=(("unified", url),)), transport=Transport.NONE, decode_radix=False),
                joined(
                    Endpoints(entry=split.urls["router"], servers=servers), transport=Transport.TCP, decode_radix=False
                ),
            ]
            plan = load_plan(str(folder / "plan.yaml"))
            measure(plan, services, machine, folder / "run", resume=False, say=lambda text: None)
        report(folder / "run", scale)


def report(folder: Path, scale: float) -> None:
    driven = compose.central(load_profile(DEFAULT_PROFILE))
    rows = [row for row in read_rows(folder) if isinstance(row, PrefillRow) and not row.outlier]
    print(f"{'arm':<10} {'rows':>5} {'error, median / p90 %':>23} {'added by sockets, median ms':>29}")
    for arm, transport in sorted({(row.arm, row.transport) for row in rows}, key=str):
        mine = [row for row in rows if (row.arm, row.transport) == (arm, transport)]
        found = np.array([row.ttft_s for row in mine]) / scale
        cached, new = (np.array([float(getattr(row, key)) for row in mine]) for key in ("cached_tokens", "new_tokens"))
        expected = np.asarray(driven.ttft_s(arm, transport, cached, new))
        error = 100 * np.abs(found / expected - 1.0)
        added = 1e3 * np.median((found - expected) * scale)
        print(
            f"{arm.value:<10} {len(mine):>5} {np.median(error):>14.1f} / {np.quantile(error, 0.9):>5.1f} {added:>29.1f}"
        )


if __name__ == "__main__":
    main()
