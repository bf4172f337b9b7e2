"""``ppdsim profiles``: which machines are installed, which to take for what, and how well each is fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppdsim.cli.common import JsonOption, entry, print_json, print_status
from ppdsim.errors import PpdsimError

if TYPE_CHECKING:
    from ppdsim.profile import Profile


def profiles(json: JsonOption = False) -> None:
    """List the installed calibration profiles, and which to take for what.

    A short name, such as h200, stands for the recommended profile of that GPU wherever a profile is named.

    Example: ppdsim profiles --json
    """
    from ppdsim import library, profile

    recommended = library.recommended()
    short = {full: name for name, full in recommended.short_names.items()}
    found: list[dict[str, Any]] = []
    for name, path in library.installed("profile").items():
        try:
            loaded = profile.load(path)
        except PpdsimError as problem:
            print_status(f"left out: {problem}")
            continue
        row = {"short_name": short.get(name), "advice": recommended.advice.get(name), **_facts(loaded)}
        found.append({**row, "path": str(path)})
    if json:
        print_json(found)
        return
    for row in sorted(found, key=lambda row: row["short_name"] is None):
        called = f" (short: {row['short_name']})" if row["short_name"] else ""
        entry(f"{row['id']}{called}", _lines(row))


def _facts(loaded: Profile) -> dict[str, Any]:
    errors = {curve.name: curve.left_out for curve in loaded.curves if curve.left_out}
    return {
        "id": loaded.id,
        "machine": loaded.machine,
        "model": loaded.model.name,
        "engine": loaded.engine.title,
        "link": loaded.link,
        "date": loaded.date,
        "derived_from": loaded.provenance.get("derived_from"),
        "derivation": loaded.derivation,
        "kv_pool_tokens": loaded.kv_pool_tokens,
        "gpu_kv_pool_tokens": loaded.gpu_kv_pool_tokens,
        "errors": {name: {"median": error.median, "p90": error.p90} for name, error in errors.items()},
    }


def _lines(row: dict[str, Any]) -> list[str]:
    """Return what is said of a profile: what to take it for first, how good it is last."""
    advice = [f"take it for   {row['advice']}"] if row["advice"] else []
    shown = ", ".join(f"{name} {error['median']:.1%} / {error['p90']:.1%}" for name, error in row["errors"].items())
    quality = row["derivation"] or f"measured {row['date']}; error of left-out cells (median / 90 %): {shown}"
    pool = f"{row['kv_pool_tokens']:,} tokens"
    if row["gpu_kv_pool_tokens"] not in (None, row["kv_pool_tokens"]):
        pool += f" on the server that measured; its GPU holds {row['gpu_kv_pool_tokens']:,}"
    return [
        *advice,
        f"machine       {row['machine']}; {row['link']}",
        f"model         {row['model']}, {row['engine']}",
        f"KV pool       {pool}",
        f"origin        {quality}",
    ]
