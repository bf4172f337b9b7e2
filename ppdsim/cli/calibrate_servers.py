"""The servers of a calibration: joined by URL, or those to start; what they will allow, and what the call may say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdsim.cli.common import print_status
from ppdsim.cli.reads import CALIBRATE
from ppdsim.cli.servers import progress_printer, url_of

if TYPE_CHECKING:
    from ppdsim.engines.base import AbstractEngine
    from ppdsim.engines.launch.launcher import Settings
    from ppdsim.engines.launch.specs import Host
    from ppdsim.measure.expected_limits import Foreseen
    from ppdsim.measure.plan import Plan
    from ppdsim.measure.service import Service
    from ppdsim.types import Transport

SAID_OTHERWISE = {
    "model": "--model says it",
    "decode_radix": "D is started with a prefix cache and without one, as the plan needs it",
}
"""Keys of the settings that a calibration decides by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What both kinds of servers need of the command line; `named` are the options that were typed."""

    engine: AbstractEngine
    named: Mapping[str, str]
    plan: Plan
    transport: str | None
    key: str | None
    quiet: bool

    def print_status(self, text: str) -> None:
        """Print a line for people."""
        print_status(text, quiet=self.quiet)

    def refuse_unread(self, how: str, *, pair: bool, unified: bool) -> None:
        """Refuse options that were typed and are not read for these servers."""
        has = {"pair": pair, "unified": unified}
        here = frozenset({"servers", how, *(facet for facet, there in has.items() if there)})
        CALIBRATE.refuse_unread(self.named, here)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Services, what they will allow by name, the GPUs between which KV travels, and the settings to start with."""

    services: list[Service]
    foreseen: dict[str, Foreseen]
    gpus: tuple[int, int] | None = None
    to_start: Settings | None = None


def transports_of(text: str, *, most: int) -> list[Transport]:
    """Read ``--transport``.

    Raises
    ------
    InputError
        If a name is unknown, or there are too many.
    """
    from ppdsim.errors import InputError, unknown
    from ppdsim.types import Transport

    links = [link.value for link in Transport if link is not Transport.NONE]
    names = text.split(",")
    for name in names:
        if name not in links:
            raise unknown("transport", name, links)
    if len(names) > most:
        raise InputError(f"--transport {text}: {len(names)} transports, expected {most}")
    return [Transport(name) for name in names]


def join(call: Call, unified_url: str | None, pair_urls: Mapping[str, str], *, decode_radix: bool) -> Ready:
    """Return the services of servers that run; `pair_urls` are those of ``router``, ``prefill`` and ``decode``."""
    from ppdsim.engines.client import Endpoints
    from ppdsim.measure.expected_limits import asked
    from ppdsim.measure.service import joined
    from ppdsim.types import Transport

    if pair_urls:
        _check_pair(call.engine, pair_urls)
    call.refuse_unread("joined", pair=bool(pair_urls), unified=unified_url is not None)
    (link,) = transports_of(call.transport or "tcp", most=1)
    services: list[Service] = []
    if unified_url is not None:
        url = url_of("--unified-url", unified_url)
        endpoints = Endpoints(entry=url, servers=(("unified", url),), key=call.key)
        services.append(
            joined(call.engine, endpoints, transport=Transport.NONE, decode_radix=False, show_line=call.print_status)
        )
    if pair_urls:
        urls = {role: url_of(f"--{role}-url", pair_urls[role]) for role in call.engine.pair_urls}
        endpoints = Endpoints(
            entry=urls.get("router", urls["decode"]),
            servers=(("prefill", urls["prefill"]), ("decode", urls["decode"])),
            key=call.key,
        )
        services.append(
            joined(call.engine, endpoints, transport=link, decode_radix=decode_radix, show_line=call.print_status)
        )
        if call.transport is None:
            call.print_status("the running pair is taken to hand over by tcp; --transport says otherwise")
    return Ready(services=services, foreseen={service.name: asked(service, call.plan) for service in services})


def _check_pair(engine: AbstractEngine, pair_urls: Mapping[str, str]) -> None:
    """Refuse some of the addresses of a pair, and one that the engine's pairs do not have."""
    from ppdsim.errors import InputError

    *others, last = [f"--{role}-url" for role in engine.pair_urls] or ["--unified-url"]
    for role in pair_urls:
        if role not in engine.pair_urls:
            expected = " and ".join((*others, last))
            raise InputError(f"--{role}-url: not read for servers of {engine.title}, expected {expected}")
    if len(pair_urls) < len(engine.pair_urls):
        every = "all three" if len(others) == 2 else "both"
        raise InputError(f"{', '.join(others)} and {last} belong together: give {every} or none")


def settings_of(
    call: Call, path: Path | None, options: Mapping[str, Any], assign: Sequence[str], host: Host
) -> Settings:
    """Return the settings of the servers to start; without a list of GPUs they take the first one or two."""
    from ppdsim.engines.launch.settings_file import refuse_unread, unread_of_file
    from ppdsim.errors import InputError

    links = _links(call)
    chosen: Settings = call.engine.launcher.load(
        path, {**options, "transport": links[0].value if links else None}, assign
    )
    if not (chosen.prefill_gpus or chosen.decode_gpus or chosen.unified_gpus):
        count = len(host.gpu_memory_bytes)
        if not count:
            raise InputError(
                "no servers: give --unified-url, or --router-url with --prefill-url and --decode-url; or, on a machine "
                "with GPUs, --prefill-gpu, --decode-gpu and --unified-gpu"
            )
        on_gpus = (
            {"prefill_gpus": (0,), "decode_gpus": (1,), "unified_gpus": (1,)} if count > 1 else {"unified_gpus": (0,)}
        )
        chosen = chosen.model_copy(update=on_gpus)
        if count == 1:
            call.print_status("one GPU: a unified server only; for hand-offs on it, see docs/how-to/calibrate.md")
    pair = bool(chosen.prefill_gpus or chosen.decode_gpus)
    call.refuse_unread("started", pair=pair, unified=bool(chosen.unified_gpus))

    def unread(keys: Iterable[str]) -> Mapping[str, str]:
        return call.engine.launcher.unread(keys, chosen)

    refuse_unread(assign, unread, instead=SAID_OTHERWISE)
    if (line := unread_of_file(path, unread, instead=SAID_OTHERWISE)) is not None:
        call.print_status(line)
    return chosen


def prepare(call: Call, chosen: Settings, host: Host, log_dir: Path) -> Ready:
    """Return the services of servers to start."""
    from ppdsim.engines.launch.placement import cores_note
    from ppdsim.machine.host import ThisMachine
    from ppdsim.measure.expected_limits import from_settings
    from ppdsim.measure.managed_services import buffer_gpus, started

    launcher, machine, links = call.engine.launcher, ThisMachine(), _links(call)
    for link in links:
        launcher.refuse_missing_link(link, machine)
    if (note := cores_note(chosen, host)) is not None:
        call.print_status(note)
    services = started(
        call.engine,
        call.plan,
        chosen,
        links,
        host,
        log_dir,
        progress=progress_printer(quiet=call.quiet),
        key=call.key,
        show_line=call.print_status,
    )
    if chosen.prefill_gpus and not links:
        over = ", ".join(dict.fromkeys(t.value for s in services if not s.unified for _, t in s.arms))
        what = "the settings choose" if chosen.transport != "auto" else "all that this machine has between P and D"
        call.print_status(f"links: {over} ({what}; --transport LIST chooses others)")
    if chosen.prefill_gpus and not host.decode_radix:
        call.print_status(launcher.without_delta(machine))
    foreseen = {service.name: from_settings(call.engine, service, call.plan, chosen, host) for service in services}
    return Ready(services=services, foreseen=foreseen, gpus=buffer_gpus(chosen, host), to_start=chosen)


def _links(call: Call) -> list[Transport]:
    from ppdsim.types import Transport

    return transports_of(call.transport, most=len(Transport)) if call.transport else []
