"""The plan in words, before anything is measured: cells, time, KV needed against the pool, what is left out and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppdsim import compose
from ppdsim.measure.cells import Cell
from ppdsim.measure.estimate import seconds_by_kind
from ppdsim.measure.expected_limits import Foreseen
from ppdsim.measure.limits import clipped, need_tokens
from ppdsim.measure.pending_cells import PendingCells
from ppdsim.measure.plan import Plan, transfer_cells
from ppdsim.measure.service import Service
from ppdsim.measure.transfer import Link, link_key, link_problem
from ppdsim.profile import Profile


def plan_lines(
    plan: Plan, services: Sequence[tuple[Service, Foreseen]], links: Sequence[Link], times: Profile
) -> tuple[str, ...]:
    """Return what a plan measures, how long it takes by the times of a profile, and what it needs.

    Parameters
    ----------
    plan : Plan
        The plan.
    services : sequence of (Service, Foreseen)
        Servers and what is known of them.
    links : sequence of Link
        Links that are measured alone.
    times : Profile
        Times of another machine.
    """
    model = compose.central(times)
    lines = [f"plan '{plan.name}', by the times of {times.id}:"]
    once_s = least_s = 0.0
    for link in links:
        problem = link_problem(link)
        if problem is not None:
            lines.append(f"  {link.name}: left out, {problem}")
            continue
        cells = transfer_cells(plan, link.transport)
        seconds = sum(seconds_by_kind(cells, model, plan).values())
        lines.append(
            f"  {link.name}: {_count(len(cells), 'cell')}, {_minutes(seconds)}, while no server is asked anything"
        )
        once_s += sum(seconds_by_kind(cells, model, plan, once=True).values())
        least_s += seconds
    for service, foreseen in services:
        found = clipped(service.cells(plan), foreseen.limits, plan, decode_radix=service.decode_radix)
        by_kind = seconds_by_kind(found.kept, model, plan, decode_radix=service.decode_radix)
        once = seconds_by_kind(found.kept, model, plan, decode_radix=service.decode_radix, once=True)
        once_s += sum(once.values())
        least_s += sum(by_kind.values())
        count = _count(len(found.kept), "cell")
        lines.append(f"  {service.name}: {count}, {_minutes(sum(by_kind.values()))} ({_kinds(by_kind)})")
        if need := max((need_tokens(cell) for cell in found.kept), default=0):
            lines.append(f"    {_memory(need, foreseen)}")
        lines += [f"    {line}" for line in found.lines]
    lines.append(
        f"  in all {_minutes(least_s)}, {_minutes(once_s)} of them to measure everything once{_budget(plan, once_s)}"
    )
    starts = sum(service.starts_servers for service, _ in services)
    if plan.passes == 2:
        # The last one stays up between the passes, and a load is played once.
        starts += sum(service.starts_servers and not service.loads_only for service, _ in services[:-1])
    if starts:
        lines.append(f"  and {_count(starts, 'start')} of servers, one to two minutes each")
    return tuple(lines)


def left_lines(
    pending: PendingCells, services: Sequence[Service], links: Sequence[Link], times: Profile
) -> tuple[str, ...]:
    """Return what a call that was ended leaves: the rows that there are, how to go on, and what has no row yet.

    Times are those of a profile, as for the plan.
    """
    journal, plan, model = pending.journal, pending.plan, compose.central(times)
    left: list[tuple[str, Sequence[Cell], Sequence[Cell], int]] = []  # name, all, without a row, with too few
    for link in links:
        if link_problem(link) is None:
            alone = transfer_cells(plan, link.transport)
            left.append((link.name, alone, [cell for cell in alone if not journal.has(link_key(cell, link))], 0))
    for service in services:
        undone = pending.undone(service)
        unbegun = [cell for cell in undone if not pending.begun(cell)]
        left.append((service.name, pending.cells(service), unbegun, len(undone) - len(unbegun)))
    radix = {service.name: service.decode_radix for service in services}
    lines = [f"{_count(journal.rows, 'row')} in {journal.folder}; to go on: the same command with --resume"]
    for name, every, new, few in left:
        parts = []
        if new:
            seconds = sum(seconds_by_kind(new, model, plan, decode_radix=radix.get(name, False), once=True).values())
            parts.append(f"{len(new)} of {_count(len(every), 'cell')} have no row yet, {_minutes(seconds)}")
        if few:
            parts.append(f"{few} may need further repeats")
        if parts:
            lines.append(f"  {name}: {'; '.join(parts)}")
    return tuple(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _minutes(seconds: float) -> str:
    return f"about {seconds / 60:.1f} minutes" if seconds >= 60.0 else f"about {seconds:.0f} s"


def _kinds(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{kind} {value:.0f} s" for kind, value in seconds.items())


def _memory(need: int, foreseen: Foreseen) -> str:
    limits = foreseen.limits
    pool = "the pool" if limits.kv_pool_tokens is None else f"the pool's {limits.kv_pool_tokens}"
    return (
        f"needs up to {need} tokens of KV of {pool} ({foreseen.source}); requests have up to "
        f"{limits.context_tokens} tokens"
    )


def _budget(plan: Plan, once_s: float) -> str:
    if plan.budget_s is None:
        return ""
    text = f"; repeats end when {plan.budget_s / 60:.1f} minutes are spent"
    if once_s > plan.budget_s:
        return (
            f"{text}, which measuring everything once takes already: give a smaller plan, or fewer links (--transport)"
        )
    return text
