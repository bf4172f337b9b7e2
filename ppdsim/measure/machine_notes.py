"""What a run has to say about its machine, a sentence each, from the looks that were taken while it measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ppdsim.machine.sampler import Sample

MACHINE_NOTE = "machine:"
"""How such a sentence begins."""
THROTTLING = {
    0x2: "application clocks set lower",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks set lower",
}
"""NVML's reason bits; nvml.h, nvmlClocksEventReason*. Bit 0 is an idle GPU, which is not throttling."""
IDLE = 0x1
GIB = 2**30


def machine_notes(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return sentences on busy cores, and for each GPU on throttling, clocks and who else used it."""
    notes: list[str] = []
    busy = [sample.busy_share for sample in samples if sample.busy_share is not None]
    if busy:
        notes.append(f"host cores were {sum(busy) / len(busy):.0%} busy on average, {max(busy):.0%} at most")
    for index in range(max((len(sample.gpus) for sample in samples), default=0)):
        looks = [sample.gpus[index] for sample in samples if index < len(sample.gpus)]
        notes += [f"GPU {index} {text}" for text in (*_throttling(looks), *_clocks(looks), *_others(looks))]
    return tuple(f"{MACHINE_NOTE} {note}" for note in notes)


def _throttling(looks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    reasons = [look["throttle"] & ~IDLE for look in looks if "throttle" in look]
    throttled = [bits for bits in reasons if bits]
    if throttled:
        named = Counter(name for bits in throttled for name in _reasons(bits))
        listed = ", ".join(f"{name} in {count}" for name, count in named.most_common())
        yield f"THROTTLED in {len(throttled)} of {len(reasons)} looks ({listed})"


def _reasons(bits: int) -> list[str]:
    known = [name for bit, name in THROTTLING.items() if bits & bit]
    rest = bits & ~sum(THROTTLING)
    return known + ([f"reason {rest:#x}"] if rest else [])


def _clocks(looks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    clocks = [look["sm_mhz"] for look in looks if "sm_mhz" in look]
    if clocks:
        hottest = max((look["temperature_c"] for look in looks if "temperature_c" in look), default=None)
        yield f"ran at {min(clocks)} to {max(clocks)} MHz" + ("" if hottest is None else f", at most {hottest} C")


def _others(looks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say who used a GPU beside the servers under test, how long, and with how much memory.

    A process that was known for ours once is ours, also in a look at its very beginning or end.
    """
    ours = {user["pid"] for look in looks for user in look.get("used_by", ()) if user["ours"]}
    seen: Counter[tuple[int, str, bool]] = Counter()
    most_bytes: dict[tuple[int, str, bool], int] = {}
    for look in looks:
        for user in look.get("used_by", ()):
            if user["pid"] not in ours:
                key = (user["pid"], user["name"], user["shown"])
                seen[key] += 1
                most_bytes[key] = max(most_bytes.get(key, 0), user["memory_bytes"] or 0)
    for (pid, name, shown), count in seen.items():
        memory = f"{most_bytes[pid, name, shown] / GIB:.1f} GiB" if most_bytes[pid, name, shown] else "unknown memory"
        where = "" if shown else ", in another container: the servers under test, or somebody else"
        yield f"was used by process {pid} ({name}, {memory}) in {count} of {len(looks)} looks{where}"
