"""The environment that a server is started with, and the same as a shell command.

The inherited environment stays, but for variables that would choose another link than the one asked for, and a proxy,
which would catch requests between the servers of one host. What is shown has no secrets.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from ppdsim.engines.launch.specs import Role, ServerSpec
from ppdsim.machine.masking import MASK, masked_environment, masked_words

PROXY_VARIABLES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def changes(spec: ServerSpec, inherited: Mapping[str, str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the variables to take out of the inherited environment, and those to set in it."""
    out = tuple(name for name in spec.not_inherited if name in inherited and name not in spec.env)
    proxied = any(inherited.get(name) for name in PROXY_VARIABLES)
    direct = dict.fromkeys(("NO_PROXY", "no_proxy"), spec.host) if proxied else {}
    return out, {**direct, **spec.env}


def environment(spec: ServerSpec, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a server."""
    out, into = changes(spec, inherited)
    return {**{name: value for name, value in inherited.items() if name not in out}, **into}


def shown(spec: ServerSpec) -> ServerSpec:
    """Return a server with the secrets of its command and environment masked."""
    return replace(spec, argv=masked_words(spec.argv), env=masked_environment(spec.env))


def command(spec: ServerSpec, inherited: Mapping[str, str]) -> str:
    """Return what to type for one server."""
    out, into = changes(spec, inherited)
    prefix = ["env", *(word for name in out for word in ("-u", name))] if out else []
    assigned = [f"{name}={shlex.quote(value)}" for name, value in into.items()]
    return " ".join([*prefix, *assigned, shlex.join(spec.argv)])


def script(specs: Sequence[ServerSpec], log_dir: Path, inherited: Mapping[str, str]) -> str:
    """Return the commands of all servers as a shell script; comments say when the next ones may start.

    Secrets are masked, and a comment says so.
    """
    original, specs = specs, [shown(spec) for spec in specs]
    lines = [f"mkdir -p {shlex.quote(str(log_dir))}"]
    if list(original) != specs:
        lines.insert(0, f"# {MASK} is a secret: put it in")
    last = specs[-1].wave
    for wave, members in groupby(specs, key=lambda spec: spec.wave):
        together = list(members)
        for spec in together:
            where = "" if spec.role is Role.ROUTER else f", GPU {','.join(map(str, spec.gpus))}"
            log = shlex.quote(str(log_dir / spec.log_name))
            lines += [f"# {spec.name}{where}", f"{command(spec, inherited)} > {log} 2>&1 &"]
        if wave != last:
            lines.append(f"# when {' and '.join(spec.health_url for spec in together)} answer:")
    return "\n".join(lines)
