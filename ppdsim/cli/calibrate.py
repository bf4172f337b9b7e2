"""``ppdsim calibrate``: measure a live engine and leave a profile, its card and a report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ppdsim.cli.common import JsonOption, QuietOption, echo, print_json, say, wrote
from ppdsim.cli.run_folder import refuse_results
from ppdsim.cli.servers import ApiKeyOption, gpus_of, key_of, teller, url_of
from ppdsim.files import write_whole

if TYPE_CHECKING:
    from ppdsim.calibrate.drivers.base import Tell
    from ppdsim.calibrate.live.foreseen import Foreseen
    from ppdsim.calibrate.live.plan import Plan
    from ppdsim.calibrate.live.service import Service
    from ppdsim.calibrate.live.transfer import Link
    from ppdsim.profile import Profile
    from ppdsim.types import Transport

RUN_FILES = ("points.jsonl", "manifest.json", "profile.json", "card.txt", "accuracy.txt", "report.html")
"""Files of a run of its own in its folder, which say themselves how to go on."""


def calibrate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run: raw points, manifest, profile, report.")],
    model: Annotated[
        Path | None, typer.Option(help="Folder of the model under test; its config.json is enough.")
    ] = None,
    plan: Annotated[str, typer.Option(help="quick, full, or a plan file.")] = "quick",
    unified_url: Annotated[str | None, typer.Option(help="A unified server that runs already.")] = None,
    router_url: Annotated[str | None, typer.Option(help="A router that runs already, in front of P and D.")] = None,
    prefill_url: Annotated[str | None, typer.Option(help="The prefill server behind --router-url.")] = None,
    decode_url: Annotated[str | None, typer.Option(help="The decode server behind --router-url.")] = None,
    api_key_env: ApiKeyOption = None,
    prefill_gpu: Annotated[str | None, typer.Option(help="Start servers: GPU of the prefill server.")] = None,
    decode_gpu: Annotated[str | None, typer.Option(help="Start servers: GPU of the decode server.")] = None,
    unified_gpu: Annotated[str | None, typer.Option(help="Start servers: GPU of the unified server.")] = None,
    settings: Annotated[Path | None, typer.Option(help="YAML file of settings for the servers to start.")] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set one key of the settings, such as max_total_tokens=65536."),
    ] = None,
    cpu_pin: Annotated[
        str | None, typer.Option(help="Cores of each started server and the client: auto, or lists as for serve.")
    ] = None,
    transport: Annotated[
        str | None,
        typer.Option(
            help="Links to measure, such as nvlink,tcp; by default all that the machine has between P and D. For a "
            "running pair: how it hands over, by default tcp."
        ),
    ] = None,
    decode_radix: Annotated[
        bool, typer.Option("--decode-radix", help="The running D has a prefix cache: measure delta transfers too.")
    ] = False,
    dummy_weights: Annotated[bool, typer.Option("--dummy-weights", help="The servers run random weights.")] = False,
    only: Annotated[
        str | None, typer.Option(help="transfer: the KV transfer engine alone, on any machine, without servers.")
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(help="Transfer alone: source and target GPU, such as 0,1; by default of P and D, or host memory."),
    ] = None,
    budget_s: Annotated[
        float | None, typer.Option(help="Time on warm servers when repeats end, instead of the plan's.")
    ] = None,
    name: Annotated[str, typer.Option(help="Id of the profile; by default the folder's name.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    measure_only: Annotated[bool, typer.Option("--measure-only", help="Stop before the fit.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its time, and stop.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure prefill, decode, hand-off and stall costs of a live engine and fit a profile.

    Servers are started and taken down for the run, or joined where they run already (--unified-url, --router-url).

    Example: ppdsim calibrate --model M -o run
    """
    from ppdsim.calibrate.live.calibrate import fit, measure
    from ppdsim.calibrate.live.foreseen import Foreseen, asked
    from ppdsim.calibrate.live.journal import LIMITS
    from ppdsim.calibrate.live.machine import describe_machine
    from ppdsim.calibrate.live.plan import load_plan
    from ppdsim.calibrate.live.reference import reference
    from ppdsim.calibrate.live.run_file import read_limits
    from ppdsim.calibrate.live.transfer import links_of
    from ppdsim.errors import EnvironmentProblem, InputError
    from ppdsim.types import Transport

    def tell(text: str) -> None:
        say(text, quiet=quiet)

    refuse_results(out, but=RUN_FILES, goes_on=resume)
    chosen = _with_budget(load_plan(plan), budget_s)
    pair = _pair(gpus)
    if only is not None:
        (link,) = _transports(transport or "tcp", most=1)
        _only(only, chosen, out, link, pair, resume=resume, json=json, quiet=quiet)
        return
    if model is None:
        raise InputError("--model: not given, expected the folder of the model that the servers run")
    machine = describe_machine(name or out.resolve().name, model, dummy_weights=dummy_weights)
    urls = (unified_url, router_url, prefill_url, decode_url)
    if any(urls):
        (link,) = _transports(transport or "tcp", most=1)
        key = key_of(api_key_env)
        services = _joined(
            unified_url, router_url, prefill_url, decode_url, link, decode_radix=decode_radix, key=key, tell=tell
        )
        if router_url is not None and transport is None:
            say("the running pair is taken to hand over by tcp; --transport says otherwise", quiet=quiet)
        foreseen = {service.name: asked(service, chosen) for service in services}
    else:
        options = {
            "model": str(model),
            "prefill_gpus": gpus_of("--prefill-gpu", prefill_gpu),
            "decode_gpus": gpus_of("--decode-gpu", decode_gpu),
            "unified_gpus": gpus_of("--unified-gpu", unified_gpu),
            "dummy_weights": dummy_weights or None,
            "cpu_pin": cpu_pin,
        }
        links = _transports(transport, most=len(Transport)) if transport else []
        key = key_of(api_key_env)
        services, foreseen, on_gpus = _started(
            chosen, settings, options, assign or [], links, out, key=key, tell=tell, quiet=quiet
        )
        pair = pair or on_gpus
    alone = links_of(chosen, services, pair)
    if resume:
        earlier, _ = read_limits(out / LIMITS)
        for service in services:
            # What a running server says now is newer than what it said then.
            if service.name in earlier and service.starts_servers:
                foreseen[service.name] = Foreseen(limits=earlier[service.name], source="as in an earlier call")
    times = reference(machine.gpu.name)
    planned = _print_plan(chosen, services, foreseen, alone, times, quiet=quiet)
    if dry_run:
        _document(planned, [], None, dry_run=True, json=json)
        return
    try:
        measured = measure(chosen, services, machine, out, resume=resume, say=tell, links=alone)
    except (KeyboardInterrupt, EnvironmentProblem):
        _tell_left(chosen, services, alone, out, times, quiet=quiet)
        raise
    for what, seconds in sorted(measured.seconds.items(), key=lambda item: -item[1]):
        say(f"  {seconds:7.1f} s  {what}", quiet=quiet)
    paths = [out / "points.jsonl", out / "manifest.json"]
    if not measure_only:
        try:
            fitted = fit(out, say=tell)
        except KeyboardInterrupt:
            tell("what the plan asks is measured; to fit it: the same command with --resume")
            raise
        paths += [out / "profile.json", *_report(fitted, out, quiet=quiet)]
    paths = [path for path in paths if path.exists()]
    _document(planned, paths, None if measure_only else fitted, dry_run=False, json=json)
    wrote(paths, quiet=quiet)


def _transports(text: str, *, most: int) -> list[Transport]:
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


def _started(
    plan: Plan,
    settings: Path | None,
    options: dict[str, Any],
    assign: list[str],
    links: list[Transport],
    out: Path,
    *,
    key: str | None,
    tell: Tell,
    quiet: bool,
) -> tuple[list[Service], dict[str, Foreseen], tuple[int, int] | None]:
    """Return services of servers to start, what they will allow by name, and the GPUs between which KV will travel.

    Without a list of GPUs they are the first one or two that the machine has.
    """
    from ppdsim.calibrate.doctor.machine import ThisMachine
    from ppdsim.calibrate.doctor.versions import DECODE_RADIX_SINCE
    from ppdsim.calibrate.live.foreseen import from_settings
    from ppdsim.calibrate.live.started import buffer_gpus, started
    from ppdsim.calibrate.stack.link import refuse_missing_link
    from ppdsim.calibrate.stack.settings import load
    from ppdsim.calibrate.stack.specs import host_of
    from ppdsim.errors import InputError

    machine = ThisMachine()
    chosen = load(settings, options, assign)
    if not (chosen.prefill_gpus or chosen.decode_gpus or chosen.unified_gpus):
        count = len(machine.gpus())
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
            say("one GPU: a unified server only; for hand-offs on it, see docs/how-to/calibrate.md", quiet=quiet)
    for link in links:
        refuse_missing_link(link, machine)
    host = host_of(machine)
    services = started(plan, chosen, links, host, out / "servers", progress=teller(quiet=quiet), key=key, tell=tell)
    if chosen.prefill_gpus and not links:
        over = ", ".join(dict.fromkeys(t.value for s in services if not s.unified for _, t in s.arms))
        what = "the settings choose" if chosen.transport != "auto" else "all that this machine has between P and D"
        say(f"links: {over} ({what}; --transport LIST chooses others)", quiet=quiet)
    if chosen.prefill_gpus and not host.decode_radix:
        engine = f"SGLang {machine.version('sglang')}"
        say(f"{engine} gives D no prefix cache ({DECODE_RADIX_SINCE} does): full hand-offs only", quiet=quiet)
    foreseen = {service.name: from_settings(service, plan, chosen, host) for service in services}
    return services, foreseen, buffer_gpus(chosen, host)


def _pair(gpus: str | None) -> tuple[int, int] | None:
    from ppdsim.errors import InputError

    if gpus is None:
        return None
    parts = gpus.split(",")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise InputError(f"--gpus {gpus}: expected the numbers of two GPUs, such as 0,1")
    return int(parts[0]), int(parts[1])


def _only(
    only: str,
    plan: Plan,
    out: Path,
    transport: Transport,
    gpus: tuple[int, int] | None,
    *,
    resume: bool,
    json: bool,
    quiet: bool,
) -> None:
    from ppdsim.calibrate.live.transfer import Link, calibrate_transfer
    from ppdsim.errors import unknown

    if only != "transfer":
        raise unknown("part", only, ["transfer"])
    link = Link(transport=transport, gpus=gpus)
    paths, text = calibrate_transfer(plan, out, link, resume=resume, say=lambda line: say(line, quiet=quiet))
    _document([], paths, None, dry_run=False, json=json)
    if not (json or quiet):
        echo(text)
    wrote(paths, quiet=quiet)


def _with_budget(plan: Plan, budget_s: float | None) -> Plan:
    from ppdsim.errors import InputError
    from ppdsim.limits import NUMBER

    if budget_s is None:
        return plan
    if not 1.0 <= budget_s <= NUMBER.value:
        raise InputError(f"--budget-s {budget_s:g}: expected from 1 to {NUMBER.value:,} s")
    return plan.model_copy(update={"budget_s": budget_s})


def _joined(
    unified_url: str | None,
    router_url: str | None,
    prefill_url: str | None,
    decode_url: str | None,
    transport: Transport,
    *,
    decode_radix: bool,
    key: str | None,
    tell: Tell,
) -> list[Service]:
    from ppdsim.calibrate.drivers.sglang_http import Endpoints
    from ppdsim.calibrate.live.joined import joined
    from ppdsim.errors import InputError
    from ppdsim.types import Transport

    services: list[Service] = []
    if unified_url is not None:
        url = url_of("--unified-url", unified_url)
        endpoints = Endpoints(entry=url, servers=(("unified", url),), key=key)
        services.append(joined(endpoints, transport=Transport.NONE, decode_radix=False, tell=tell))
    pair = (router_url, prefill_url, decode_url)
    if router_url is not None and prefill_url is not None and decode_url is not None:
        endpoints = Endpoints(
            entry=url_of("--router-url", router_url),
            servers=(
                ("prefill", url_of("--prefill-url", prefill_url)),
                ("decode", url_of("--decode-url", decode_url)),
            ),
            key=key,
        )
        services.append(joined(endpoints, transport=transport, decode_radix=decode_radix, tell=tell))
    elif any(pair):
        raise InputError("--router-url, --prefill-url and --decode-url belong together: give all three or none")
    return services


def _print_plan(
    plan: Plan,
    services: list[Service],
    foreseen: dict[str, Foreseen],
    links: list[Link],
    times: Profile,
    *,
    quiet: bool,
) -> list[str]:
    from ppdsim.calibrate.live.describe import plan_lines

    known = [(service, foreseen[service.name]) for service in services]
    lines = list(plan_lines(plan, known, links, times))
    for line in lines:
        say(line, quiet=quiet)
    return lines


def _document(plan: list[str], files: list[Path], fitted: Profile | None, *, dry_run: bool, json: bool) -> None:
    """Print the answer as a document, with --json."""
    from ppdsim.card import card_of
    from ppdsim.cli.documents import Calibrated

    if not json:
        return
    card = None if fitted is None else card_of(fitted)
    print_json(asdict(Calibrated(dry_run=dry_run, plan=plan, files=[str(path) for path in files], card=card)))


def _tell_left(
    plan: Plan, services: list[Service], links: list[Link], out: Path, times: Profile, *, quiet: bool
) -> None:
    """Say what a run that was ended has, how it goes on, and how much is left; nothing if it has no rows."""
    from ppdsim.calibrate.live.agenda import Agenda
    from ppdsim.calibrate.live.describe import left_lines
    from ppdsim.calibrate.live.journal import Journal
    from ppdsim.calibrate.live.lock import FolderInUse, locked

    if not (out / "points.jsonl").exists():
        return
    try:
        with locked(out):
            lines = left_lines(Agenda(plan, Journal(out, resume=True)), services, links, times)
    except FolderInUse:
        # Another run measures into it; what is there is no concern of this one.
        return
    for line in lines:
        say(line, quiet=quiet)
    wrote([path for path in (out / "points.jsonl", out / "manifest.json") if path.exists()], quiet=quiet)


def _report(fitted: Profile, out: Path, *, quiet: bool) -> list[Path]:
    """Write the card, how far the profile is off on what the run held out, and the report if there are two arms."""
    from ppdsim.card import card_of, to_text
    from ppdsim.crossover import crossover
    from ppdsim.report import write_report
    from ppdsim.scenario import load
    from ppdsim.scenario.keys import Command
    from ppdsim.setup import resolve

    card = to_text(card_of(fitted))
    say(card, quiet=quiet)
    paths = [write_whole(out / "card.txt", card + "\n"), *_accuracy(fitted, out, quiet=quiet)]
    measured = [(r.arm, r.transport) for r in fitted.curves if r.arm and r.transport and r.cells]
    if not measured:
        say("no report: no hand-off was measured, so there is nothing to compare an append with", quiet=quiet)
        return paths
    arms = ", ".join(f"{{arm: {arm.value}, transport: {transport.value}}}" for arm, transport in measured)
    scenario = load("cache-rate", [f"crossover.arms=[{{arm: append-d, transport: none}}, {arms}]"])
    answer = crossover(resolve(scenario, Command.CROSSOVER, load=lambda _: fitted), seed=scenario.seed)
    say(answer.headline, quiet=quiet)
    return [*paths, write_report(answer, out / "report.html")]


def _accuracy(fitted: Profile, out: Path, *, quiet: bool) -> list[Path]:
    """Write the accuracy card of a run that held something out, its loads included."""
    from ppdsim import measurements
    from ppdsim.validate import to_text, validate

    measured = measurements.read(out)
    kinds = (measured.prefill, measured.decode, measured.interference, measured.load)
    if not any(row.purpose == "validation" for rows in kinds for row in rows):
        return []
    say("validation on what was held out ...", quiet=quiet)
    return [write_whole(out / "accuracy.txt", to_text(validate(fitted, [measured])) + "\n")]
