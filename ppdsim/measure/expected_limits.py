"""What servers will allow, as far as it can be known before anything is measured: for the plan that is printed first.

Servers that run are asked. For servers to start it follows from their settings, as their engine's launcher says. The
servers' own answer replaces all of it once they are up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from ppdsim.engines.base import AbstractEngine
from ppdsim.engines.client import EngineInfo, Failure, RequestFailed
from ppdsim.engines.launch.launcher import Settings
from ppdsim.engines.launch.specs import Host
from ppdsim.errors import EnvironmentProblem
from ppdsim.measure.limits import Limits, limits_of
from ppdsim.measure.plan import Plan
from ppdsim.measure.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """Limits, and where they come from, in words."""

    limits: Limits
    source: str


def asked(service: Service, plan: Plan) -> Foreseen:
    """Return what the servers of a service say that run already; nothing if they cannot be reached.

    Raises
    ------
    EnvironmentProblem
        If what answers there is no such server.
    """

    async def ask() -> Mapping[str, EngineInfo]:
        async with service.open() as engine:
            return await engine.servers()

    try:
        return Foreseen(limits=limits_of(plan, asyncio.run(ask())), source="stated by the servers")
    except RequestFailed as problem:
        if problem.failure is not Failure.UNREACHABLE:
            raise EnvironmentProblem(f"{service.name}: {problem}") from None
        return Foreseen(limits=_unknown(plan), source="not known, the servers do not answer: assumed to be enough")


def from_settings(engine: AbstractEngine, service: Service, plan: Plan, settings: Settings, host: Host) -> Foreseen:
    """Return what servers are expected to allow that `settings` will start.

    Raises
    ------
    InputError
        If the model folder cannot be read.
    """
    found = engine.launcher.expected(settings, host, service.unified)
    pool = found.kv_pool_tokens
    bounds = (plan.longest_context_tokens, found.context_tokens, pool)
    limits = Limits(
        kv_pool_tokens=pool,
        context_tokens=min(bound for bound in bounds if bound is not None),
        max_running_requests=found.max_running_requests,
        prefill_pool_tokens=None if service.unified else pool,
    )
    return Foreseen(limits=limits, source=found.source)


def _unknown(plan: Plan) -> Limits:
    return Limits(kv_pool_tokens=None, context_tokens=plan.longest_context_tokens)
