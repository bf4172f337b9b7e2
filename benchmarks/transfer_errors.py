"""How far the laws of ``ppdsim derive`` miss published measurements, and the constants that follow.

    python benchmarks/transfer_errors.py [--write]

Prints the table of docs/explanation/derive.md. --write renews calibration/transfer.json, which widens derived profiles.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from transfer.check import Check, reached
from transfer.checks import all_checks, all_reduce_check
from transfer.whole import whole_checks

from ppdsim import profile
from ppdsim.compose import HALF_NORMAL_90
from ppdsim.derive.errors import FILE, TransferErrors
from ppdsim.derive.terms import Reached

ROOT = Path(__file__).resolve().parent.parent
MEASURED = "h200x2_llama-3.1-8b_sglang-0.5.17"
SIGNIFICANT_DIGITS = 4
"""Digits kept of a share or a sigma: far below what the tables resolve."""


def sigma_of(check: Check) -> float:
    """Return the sigma that puts 90 % of a check's absolute log errors inside its interval."""
    return float(np.quantile(np.abs(check.log_error), 0.9, method="higher")) / HALF_NORMAL_90


def compute(folder: Path) -> TransferErrors:
    """Compute the constants from the published tables in `folder`."""
    sigma: dict[str, dict[str, float]] = {}
    for check in all_checks(folder):
        known = sigma.setdefault(check.transfer, {})
        known[check.quantity] = max(known.get(check.quantity, 0.0), _round(sigma_of(check)))
    share = reached(folder)
    return TransferErrors(
        reached=Reached(
            memory_share=_round(share.memory_share),
            link_share=_round(share.link_share),
            row_share=_round(share.row_share),
        ),
        sigma=sigma,
    )


def to_json(errors: TransferErrors) -> str:
    """Return the text of the file."""
    content = {
        "schema": "ppdsim/transfer/1",
        "computed_by": "benchmarks/transfer_errors.py --write",
        "memory_share": errors.reached.memory_share,
        "link_share": errors.reached.link_share,
        "row_share": errors.reached.row_share,
        "sigma": errors.sigma,
    }
    return json.dumps(content, indent=1) + "\n"


def _round(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def line(check: Check) -> str:
    error = np.expm1(check.log_error)
    median, high = np.median(np.abs(error)), np.quantile(np.abs(error), 0.9)
    counted = f"{sigma_of(check):.3f}" if check.counted else "no"
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
    found = compute(folder)
    measured = profile.load(ROOT / "calibration" / "profiles" / f"{MEASURED}.json")
    beside = [all_reduce_check(folder, found.reached), *whole_checks(measured, folder, found)]
    for check in [*all_checks(folder), *beside]:
        print(line(check))
    share = found.reached
    print(
        f"\nshares: memory bandwidth {share.memory_share}, NVLink {share.link_share}, a row's FLOPs {share.row_share}"
    )
    if chosen.write:
        path = ROOT / "calibration" / FILE
        path.write_text(to_json(found))
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
