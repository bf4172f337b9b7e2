"""``ppdsim profiles``: which measured machines are installed, and how well each is fitted."""

from __future__ import annotations

from ppdsim.cli.common import JsonOption, entry, print_json, say
from ppdsim.errors import PpdsimError


def profiles(json: JsonOption = False) -> None:
    """List the installed calibration profiles.

    Example: ppdsim profiles --json
    """
    from ppdsim import library, profile

    found: list[dict[str, object]] = []
    for path in library.installed("profile").values():
        try:
            loaded = profile.load(path)
        except PpdsimError as problem:
            say(f"left out: {problem}")
            continue
        errors = {curve.name: curve.left_out for curve in loaded.curves if curve.left_out}
        what = {
            "machine": loaded.machine,
            "model": loaded.model.name,
            "engine": f"{loaded.engine} {loaded.engine_version}",
            "link": loaded.link,
        }
        found.append(
            {
                "id": loaded.id,
                **what,
                "date": loaded.date,
                "derived_from": loaded.provenance.get("derived_from"),
                "errors": {name: {"median": error.median, "p90": error.p90} for name, error in errors.items()},
                "path": str(path),
            }
        )
        if not json:
            shown = ", ".join(f"{name} {error.median:.1%} / {error.p90:.1%}" for name, error in errors.items())
            quality = loaded.derivation or f"error of left-out cells (median / 90 %): {shown}"
            entry(loaded.id, [*what.values(), loaded.date, quality])
    if json:
        print_json(found)
