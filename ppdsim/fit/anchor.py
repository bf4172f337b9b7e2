"""``ppdsim fit --anchor``: re-fit the launch floor alone from a few probes of another run.

The floor is what moves between runs (model.md, "The decision"); compute and the link stay. A handful of small appends
at an idle server pins it down, and the profile then carries the floor of that run with the probes' own spread in place
of the prior's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.optimize import brentq

from ppdsim import compose
from ppdsim.cost.base import Array
from ppdsim.errors import InputError
from ppdsim.limits import NUMBER, TOKENS
from ppdsim.metrics import interval_90, median
from ppdsim.points import number, read_records
from ppdsim.profile import Drift, Profile
from ppdsim.profile.numbers import check_numbers
from ppdsim.types import Arm, Tag, Transport

FLOOR_RANGE_S = (2e-3, 60e-3)
"""Believable launch floors [s]; outside it the probes measured something else."""
LEAST_SENSITIVITY = 0.2
"""A probe counts if at least this share of a change of the floor reaches its TTFT [1]; long prefills do not show it."""
ANCHOR_SPREAD = 0.03
"""Relative half-width of the floor's interval that an anchor leaves at best [1]: the repeat noise of a cell."""


def read_probes(path: Path) -> tuple[Array, Array, Array]:
    """Read probes: cached_tokens, new_tokens, ttft_s of appends at an idle server.

    Raises
    ------
    InputError
        Naming file and line; also if a probe is not of arm append-d.
    """
    rows: list[tuple[float, float, float]] = []
    for where, record in read_records(path):
        arm = str(record.get("arm") or Arm.APPEND_D.value)
        if str(record.get("kind") or "prefill") != "prefill" or arm != Arm.APPEND_D.value:
            continue
        values = tuple(
            number(record, name, where, required=True, limit=limit)
            for name, limit in (("cached_tokens", TOKENS), ("new_tokens", TOKENS), ("ttft_s", NUMBER))
        )
        if values[1] < 1 or values[2] <= 0:
            raise InputError(f"{where}: new_tokens={values[1]:g}, ttft_s={values[2]:g}; expected both above 0")
        rows.append((values[0], values[1], values[2]))
    if not rows:
        raise InputError(
            f"{path}: no probes; expected rows with cached_tokens, new_tokens and ttft_s of arm append-d (kind prefill)"
        )
    table = np.array(rows)
    return table[:, 0], table[:, 1], table[:, 2]


def anchor(profile: Profile, path: Path) -> Profile:
    """Return the profile with the launch floor of the run that the probes in `path` come from.

    Raises
    ------
    InputError
        If the file holds no usable probe, or as `anchor_to` says.
    """
    return anchor_to(profile, *read_probes(path), source=str(path))


def anchor_to(profile: Profile, cached: Array, new: Array, ttft: Array, *, source: str) -> Profile:
    """Return the profile with the launch floor that probes of `ttft` seconds show; `source` names them.

    Raises
    ------
    InputError
        If no probe is short enough to show the floor, or no believable one explains them, or a draw leaves its bounds.
    """
    model = compose.central(profile)

    def predicted(floor_s: float) -> Array:
        trial = compose.with_floor(model, floor_s)
        return np.asarray(trial.ttft_s(Arm.APPEND_D, Transport.NONE, cached, new))

    before = float(model.prefill.floor_s)
    sensitivity = (predicted(before * 1.05) - predicted(before)) / (0.05 * before)
    use = sensitivity >= LEAST_SENSITIVITY
    if not use.any():
        raise InputError(
            f"{source}: no probe shows the launch floor; expected appends of a few hundred tokens or fewer"
        )

    def excess(floor_s: float) -> float:
        return median((predicted(floor_s) / ttft - 1.0)[use])

    low, high = FLOOR_RANGE_S
    if excess(low) > 0 or excess(high) < 0:
        raise InputError(
            f"{source}: no launch floor between {low * 1e3:g} and {high * 1e3:g} ms explains the probes' TTFT "
            f"(median {median(ttft[use]) * 1e3:.1f} ms): are they idle appends on this profile's machine?"
        )
    floor = float(brentq(excess, low, high, xtol=1e-7))
    # What is predicted is one turn, not a mean of many: its floor is one of those that the probes saw.
    floors = np.geomspace(*FLOOR_RANGE_S, 200)
    table = np.array([predicted(trial) for trial in floors])
    seen = [np.interp(ttft[i], table[:, i], floors) for i in np.flatnonzero(use)]
    low, high = map(float, interval_90(seen))
    return _replace_floor(
        profile,
        floor,
        (min(low, floor * (1 - ANCHOR_SPREAD)), max(high, floor * (1 + ANCHOR_SPREAD))),
        f"{int(use.sum())} probes of {Path(source).name}",
    )


def _replace_floor(profile: Profile, floor_s: float, ends_s: tuple[float, float], source: str) -> Profile:
    ratio = floor_s / float(compose.central(profile).prefill.floor_s)
    curves = []
    for record in profile.curves:
        scaled = {"prefill": "floor_s", "stall": "launch_s"}.get(record.kind)
        if scaled is None:
            curves.append(record)
            continue
        names = record.draw_names
        curves.append(
            record.model_copy(
                update={
                    "parameters": tuple(
                        p.model_copy(update={k: getattr(p, k) * ratio for k in ("value", "low", "high")})
                        if p.name == scaled
                        else p
                        for p in record.parameters
                    ),
                    "draws": tuple(
                        tuple(x * ratio if name == scaled else x for name, x in zip(names, row, strict=True))
                        for row in record.draws
                    ),
                }
            )
        )
    drift = Drift(
        quantity="floor_s",
        scale="absolute",
        low=ends_s[0],
        high=ends_s[1],
        tag=Tag.MEASURED,
        source=f"anchored: {source}",
    )
    others = tuple(d for d in profile.drift if d.quantity != "floor_s")
    anchored = profile.model_copy(
        update={
            "curves": tuple(curves),
            "drift": (drift, *others),
            "provenance": {**profile.provenance, "anchored": source},
        }
    )
    check_numbers(anchored)
    return anchored
