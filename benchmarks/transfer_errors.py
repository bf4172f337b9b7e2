"""How far the laws of ``ppdsim derive`` miss published measurements, and the constants that follow.

    python benchmarks/transfer_errors.py [--write]

Prints the table of docs/explanation/derive.md. --write renews calibration/transfer.json, which widens derived profiles.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ppdsim import profile
from ppdsim.derive import errors
from ppdsim.derive.all_reduce import all_reduce_check
from ppdsim.derive.check import Check
from ppdsim.derive.checks import all_checks
from ppdsim.derive.whole import whole_checks

ROOT = Path(__file__).resolve().parent.parent
MEASURED = "h200x2_llama-3.1-8b_sglang-0.5.17"


def line(check: Check) -> str:
    error = np.expm1(check.log_error)
    median, high = np.median(np.abs(error)), np.quantile(np.abs(error), 0.9)
    counted = f"{errors.sigma_of(check):.3f}" if check.counted else "no"
    return (
        f"| {check.transfer} | {check.quantity} | {check.what} | {len(error)} | {100 * median:.1f} | {100 * high:.1f} "
        f"| {100 * np.median(error):+.1f} | {counted} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew calibration/transfer.json")
    chosen = parser.parse_args()
    folder = ROOT / "calibration" / "published"
    print("| transfer | quantity | from, to, table | rows | median % | 90 % | bias % | sigma |")
    print("|---|---|---|---|---|---|---|---|")
    found = errors.compute(folder)
    measured = profile.load(ROOT / "calibration" / "profiles" / f"{MEASURED}.json")
    beside = [all_reduce_check(folder, found.reached), *whole_checks(measured, folder, found)]
    for check in [*all_checks(folder), *beside]:
        print(line(check))
    share = found.reached
    print(
        f"\nshares: memory bandwidth {share.memory_share}, NVLink {share.link_share}, a row's FLOPs {share.row_share}"
    )
    if chosen.write:
        path = ROOT / "calibration" / errors.FILE
        path.write_text(errors.to_json(found))
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
