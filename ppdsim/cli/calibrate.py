"""``ppdsim calibrate``: measure a live engine and leave a profile, its card and a report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ppdsim.cli.calibrate_servers import Call, join, prepare, settings_of, transports_of
from ppdsim.cli.common import JsonOption, QuietOption, echo, print_json, print_status, print_written
from ppdsim.cli.reads import CALIBRATE, given
from ppdsim.cli.run_folder import refuse_results
from ppdsim.cli.servers import ApiKeyOption, EngineOption, engine_of, gpus_of, key_of
from ppdsim.files import write_whole

if TYPE_CHECKING:
    from ppdsim.engines.base import AbstractEngine
    from ppdsim.measure.expected_limits import Foreseen
    from ppdsim.measure.finish import Machine
    from ppdsim.measure.plan import Plan
    from ppdsim.measure.service import Service
    from ppdsim.measure.transfer import Link
    from ppdsim.profile import Profile
    from ppdsim.types import Transport

RUN_FILES = ("points.jsonl", "manifest.json", "profile.json", "card.txt", "accuracy.txt", "report.html", "wire.json")
"""Files of a run of its own in its folder, which say themselves how to go on."""


def calibrate(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run: raw points, manifest, profile, report.")],
    engine: EngineOption = None,
    model: Annotated[
        Path | None, typer.Option(help="Folder of the model under test; its config.json is enough.")
    ] = None,
    plan: Annotated[str, typer.Option(help="quick, full, or a plan file.")] = "quick",
    unified_url: Annotated[str | None, typer.Option(help="URL of a running unified server.")] = None,
    router_url: Annotated[str | None, typer.Option(help="URL of a running router in front of P and D.")] = None,
    prefill_url: Annotated[str | None, typer.Option(help="URL of the prefill server behind --router-url.")] = None,
    decode_url: Annotated[str | None, typer.Option(help="URL of the decode server behind --router-url.")] = None,
    api_key_env: ApiKeyOption = None,
    prefill_gpu: Annotated[str | None, typer.Option(help="GPU to start a prefill server on.")] = None,
    decode_gpu: Annotated[str | None, typer.Option(help="GPU to start a decode server on.")] = None,
    unified_gpu: Annotated[str | None, typer.Option(help="GPU to start a unified server on.")] = None,
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
        bool, typer.Option("--decode-radix", help="The running D has a prefix cache: also measure p-delta.")
    ] = False,
    dummy_weights: Annotated[bool, typer.Option("--dummy-weights", help="The servers run random weights.")] = False,
    only: Annotated[
        str | None, typer.Option(help="transfer: measure only the KV transfer engine, without servers.")
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            help="With --only transfer: source and target GPU, such as 0,1; by default of P and D, or host memory."
        ),
    ] = None,
    budget_s: Annotated[
        float | None, typer.Option(help="Seconds on warm servers after which repeats end, instead of the plan's.")
    ] = None,
    name: Annotated[str, typer.Option(help="Id of the profile; by default the folder's name.")] = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the folder; another --plan adds its cells.")
    ] = False,
    measure_only: Annotated[bool, typer.Option("--measure-only", help="Stop before the fit.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its time, and stop.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure the prefill, decode, hand-off and stall costs of a live engine, and fit a profile.

    ppdsim starts the servers and shuts them down after the run, or measures running ones (--unified-url, --router-url).

    Example: ppdsim calibrate --model M -o run
    """
    from ppdsim.errors import InputError, unknown
    from ppdsim.machine.host import ThisMachine
    from ppdsim.measure.estimate import reference
    from ppdsim.measure.expected_limits import Foreseen
    from ppdsim.measure.journal import LIMITS
    from ppdsim.measure.machine import describe_machine
    from ppdsim.measure.plan import load_plan
    from ppdsim.measure.run_file import read_limits
    from ppdsim.measure.transfer import links_of

    named, of = given(context), engine_of(engine)
    refuse_results(out, but=RUN_FILES, goes_on=resume)
    chosen = _with_budget(load_plan(plan), budget_s)
    pair = _pair(gpus)
    if only not in (None, "transfer"):
        raise unknown("part", only, ["transfer"])
    if only is not None:
        CALIBRATE.refuse_unread(named, frozenset({"transfer"}))
        (link,) = transports_of(transport or "tcp", most=1)
        _transfer(of, chosen, out, link, pair, resume=resume, dry_run=dry_run, json=json, quiet=quiet)
        return
    if model is None:
        raise InputError("--model: not given, expected the folder of the model that the servers run")
    run_id, key = name or out.resolve().name, key_of(api_key_env)
    call = Call(engine=of, named=named, plan=chosen, transport=transport, key=key, quiet=quiet)
    by_role = {"router": router_url, "prefill": prefill_url, "decode": decode_url}
    pair_urls = {role: url for role, url in by_role.items() if url is not None}
    if unified_url is not None or pair_urls:
        machine = describe_machine(run_id, model, dummy_weights=dummy_weights)
        ready = join(call, unified_url, pair_urls, decode_radix=decode_radix)
    else:
        options = {
            "model": str(model),
            "prefill_gpus": gpus_of("--prefill-gpu", prefill_gpu),
            "decode_gpus": gpus_of("--decode-gpu", decode_gpu),
            "unified_gpus": gpus_of("--unified-gpu", unified_gpu),
            "dummy_weights": dummy_weights or None,
            "cpu_pin": cpu_pin,
        }
        host = of.launcher.host(ThisMachine(), not dry_run)
        to_start = settings_of(call, settings, options, assign or [], host)
        machine = describe_machine(run_id, model, dummy_weights=to_start.dummy_weights)
        ready = prepare(call, to_start, host, out / "servers")
    services, foreseen = ready.services, ready.foreseen
    alone = links_of(of.link_alone, chosen, services, pair or ready.gpus)
    if pair is not None and not alone:
        raise InputError(f"--gpus {gpus}: plan '{chosen.name}' measures no link alone; for a plan with transfer cells")
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
    if ready.to_start is not None:
        of.launcher.require_programs(ready.to_start)
    paths, fitted = _run(
        chosen, services, machine, alone, times, out, resume=resume, measure_only=measure_only, quiet=quiet
    )
    _document(planned, paths, fitted, dry_run=False, json=json)
    print_written(paths, quiet=quiet)


def _run(
    chosen: Plan,
    services: list[Service],
    machine: Machine,
    alone: list[Link],
    times: Profile,
    out: Path,
    *,
    resume: bool,
    measure_only: bool,
    quiet: bool,
) -> tuple[list[Path], Profile | None]:
    """Measure, fit and report, and return the files and the profile; what was measured stays, whatever ends it."""
    from ppdsim.errors import EnvironmentProblem
    from ppdsim.measure.calibrate import fit, measure

    def print_line(text: str) -> None:
        print_status(text, quiet=quiet)

    try:
        measured = measure(chosen, services, machine, out, resume=resume, show_line=print_line, links=alone)
    except (KeyboardInterrupt, EnvironmentProblem):
        _tell_left(chosen, services, alone, out, times, quiet=quiet)
        raise
    for what, seconds in sorted(measured.seconds.items(), key=lambda item: -item[1]):
        print_status(f"  {seconds:7.1f} s  {what}", quiet=quiet)
    paths = [out / "points.jsonl", out / "manifest.json"]
    fitted = None
    if not measure_only:
        try:
            fitted = fit(out, show_line=print_line)
        except KeyboardInterrupt:
            print_line("what the plan asks is measured; to fit it: the same command with --resume")
            raise
        paths += [out / "profile.json", *_report(fitted, out, quiet=quiet)]
    return [path for path in paths if path.exists()], fitted


def _pair(gpus: str | None) -> tuple[int, int] | None:
    from ppdsim.errors import InputError

    if gpus is None:
        return None
    parts = gpus.split(",")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise InputError(f"--gpus {gpus}: expected the numbers of two GPUs, such as 0,1")
    return int(parts[0]), int(parts[1])


def _transfer(
    engine: AbstractEngine,
    plan: Plan,
    out: Path,
    transport: Transport,
    gpus: tuple[int, int] | None,
    *,
    resume: bool,
    json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    from ppdsim import extras
    from ppdsim.errors import InputError
    from ppdsim.machine.host import ThisMachine
    from ppdsim.measure.estimate import reference
    from ppdsim.measure.transfer import Link, calibrate_transfer

    alone = engine.link_alone
    if alone is None:
        raise InputError(f"--only transfer: ppdsim does not measure the link of {engine.title} without servers")
    link = Link(alone=alone, transport=transport, gpus=gpus)
    cards = ThisMachine().gpus()
    planned = _print_plan(plan, [], {}, [link], reference(cards[0].name if cards else "no GPU"), quiet=quiet)
    if dry_run:
        _document(planned, [], None, dry_run=True, json=json)
        return
    extras.require(alone.library, by="--only transfer")
    paths, text = calibrate_transfer(
        plan, out, link, resume=resume, show_line=lambda line: print_status(line, quiet=quiet)
    )
    _document(planned, paths, None, dry_run=False, json=json)
    if not (json or quiet):
        echo(text)
    print_written(paths, quiet=quiet)


def _with_budget(plan: Plan, budget_s: float | None) -> Plan:
    from ppdsim.errors import InputError
    from ppdsim.limits import NUMBER

    if budget_s is None:
        return plan
    if not 1.0 <= budget_s <= NUMBER.value:
        raise InputError(f"--budget-s {budget_s:g}: expected from 1 to {NUMBER.value:,} s")
    return plan.model_copy(update={"budget_s": budget_s})


def _print_plan(
    plan: Plan,
    services: list[Service],
    foreseen: dict[str, Foreseen],
    links: list[Link],
    times: Profile,
    *,
    quiet: bool,
) -> list[str]:
    from ppdsim.measure.describe import plan_lines

    known = [(service, foreseen[service.name]) for service in services]
    lines = list(plan_lines(plan, known, links, times))
    for line in lines:
        print_status(line, quiet=quiet)
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
    from ppdsim.measure.describe import left_lines
    from ppdsim.measure.journal import Journal
    from ppdsim.measure.lock import FolderInUse, locked
    from ppdsim.measure.pending_cells import PendingCells

    if not (out / "points.jsonl").exists():
        return
    try:
        with locked(out):
            lines = left_lines(PendingCells(plan, Journal(out, resume=True)), services, links, times)
    except FolderInUse:
        # Another run measures into it; what is there is no concern of this one.
        return
    for line in lines:
        print_status(line, quiet=quiet)
    print_written([path for path in (out / "points.jsonl", out / "manifest.json") if path.exists()], quiet=quiet)


def _report(fitted: Profile, out: Path, *, quiet: bool) -> list[Path]:
    """Write the card, how far the profile is off on what the run held out, and the report if there are two arms."""
    from ppdsim.card import card_of, to_text
    from ppdsim.crossover import crossover
    from ppdsim.report import render
    from ppdsim.scenario import load
    from ppdsim.scenario.keys import Command
    from ppdsim.setup import resolve

    card = to_text(card_of(fitted))
    print_status(card, quiet=quiet)
    paths = [write_whole(out / "card.txt", card + "\n"), *_accuracy(fitted, out, quiet=quiet)]
    measured = [(r.arm, r.transport) for r in fitted.curves if r.arm and r.transport and r.cells]
    if not measured:
        print_status("no report: no hand-off was measured, so there is nothing to compare an append with", quiet=quiet)
        return paths
    arms = ", ".join(f"{{arm: {arm.value}, transport: {transport.value}}}" for arm, transport in measured)
    scenario = load("cache-rate", [f"crossover.arms=[{{arm: append-d, transport: none}}, {arms}]"])
    answer = crossover(resolve(scenario, Command.CROSSOVER, load=lambda _: fitted), seed=scenario.seed)
    print_status(answer.headline, quiet=quiet)
    return [*paths, write_whole(out / "report.html", render(answer))]


def _accuracy(fitted: Profile, out: Path, *, quiet: bool) -> list[Path]:
    """Write the accuracy card of a run that held something out, its loads included."""
    from ppdsim import measurements
    from ppdsim.validate import to_text, validate

    measured = measurements.read(out)
    kinds = (measured.prefill, measured.decode, measured.interference, measured.load)
    if not any(row.purpose == "validation" for rows in kinds for row in rows):
        return []
    print_status("validation on what was held out ...", quiet=quiet)
    return [write_whole(out / "accuracy.txt", to_text(validate(fitted, [measured])) + "\n")]
