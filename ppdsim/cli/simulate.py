"""``ppdsim simulate``: run one scenario in the simulator and keep its turns."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ppdsim.cli import common
from ppdsim.cli.run_folder import RunFolder, claim, of_scenario
from ppdsim.files import write_whole

if TYPE_CHECKING:
    from ppdsim.results import Results
    from ppdsim.scenario import Scenario


def simulate(
    scenario: common.ScenarioArgument,
    out: common.OutOption = Path("out"),
    profile: common.ProfileOption = None,
    policy: common.PoliciesOption = None,
    seed: common.SeedOption = None,
    trace: common.TraceOption = None,
    settings: common.SetOption = None,
    decisions: Annotated[
        Path | None,
        typer.Option(
            help="CSV to write: each routing decision, with the estimated cost of both arms at decision time."
        ),
    ] = None,
    timeline: Annotated[
        Path | None,
        typer.Option(help="Chrome trace to write, for ui.perfetto.dev: nodes, links, turns, queues, KV pages."),
    ] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write turns.parquet instead of turns.csv.")] = False,
    force: common.ForceOption = False,
    json: common.JsonOption = False,
    quiet: common.QuietOption = False,
) -> None:
    """Run a scenario in the simulator; write turns.csv (one row per turn) and summary.json.

    If the scenario has alternatives, all of them run on the same conversations. ppdsim prints the answer, and writes
    alternatives.json, report.html and one folder per alternative with the run of the first seed. Several policies also
    run on the same conversations; policies.json has the regret of each.
    If you press Ctrl-C, the folder 'interrupted' keeps the finished turns, or the finished alternatives or policies.

    Example: ppdsim simulate one-pair --policy always-p --policy cost-aware -o out
    """
    from ppdsim import extras
    from ppdsim.errors import InputError
    from ppdsim.scenario import load

    if parquet:
        extras.require("pyarrow", by="--parquet")
    several = policy is not None and (len(policy) > 1 or "all" in policy)
    if several and timeline is not None:
        raise InputError("--timeline: shows one run; give one --policy")
    only = policy[0] if policy and not several else None
    chosen = load(scenario, common.overrides(settings, profile=profile, policy=only, seed=seed), trace=trace)
    folder = claim(
        out,
        command="simulate",
        on=chosen.name,
        decided_by=of_scenario(chosen, **{"--policy": policy if several else None}),
        force=force,
        beside={"--decisions": decisions, "--timeline": timeline},
    )
    if chosen.alternatives:
        refused = {
            "--decisions": decisions is not None,
            "--timeline": timeline is not None,
            "several --policy": several,
        }
        for option in (option for option, given in refused.items() if given):
            raise InputError(
                f"{option}: scenario '{chosen.name}' has alternatives; run it without them: --set alternatives=[]"
            )
        _what_if(chosen, chosen.seed, folder, parquet=parquet, json=json, quiet=quiet)
    elif several and policy is not None:
        _compare(chosen, policy, chosen.seed, folder, decisions, parquet=parquet, json=json, quiet=quiet)
    else:
        _run(chosen, chosen.seed, folder, decisions, timeline, parquet=parquet, json=json, quiet=quiet)


def _run(
    scenario: Scenario,
    seed: int,
    folder: RunFolder,
    decisions: Path | None,
    timeline: Path | None,
    *,
    parquet: bool,
    json: bool,
    quiet: bool,
) -> None:
    from ppdsim.des import chrome_trace
    from ppdsim.des.cluster import Interrupted
    from ppdsim.des.timeline import Timeline
    from ppdsim.routing.decision_log import write
    from ppdsim.simulation.run import simulate as run

    record = None if timeline is None else Timeline()
    try:
        results = run(scenario, seed=seed, decisions=decisions is not None, timeline=record)
    except Interrupted as stop:
        folder.keep_interrupted(stop.results.save, quiet=quiet, lost="no turn had ended")
        raise
    with folder.writing() as written:
        written.extend(results.save(folder.path, "parquet" if parquet else "csv"))
        if decisions is not None and results.decisions is not None:
            write(decisions, [(scenario.routing.policy, results.decisions)])
            written.append(decisions)
        if timeline is not None and record is not None:
            chrome_trace.write(timeline, record, results.provenance)
            written.append(timeline)
    if json:
        common.print_json(results.summary())
    elif not quiet:
        common.echo(str(results))
    common.print_written(written, quiet=quiet)


def _what_if(scenario: Scenario, seed: int, folder: RunFolder, *, parquet: bool, json: bool, quiet: bool) -> None:
    from ppdsim.report import render_alternatives
    from ppdsim.results import not_read
    from ppdsim.whatif import Interrupted, run, save, table, to_json

    try:
        with common.progress("alternatives", quiet=quiet) as advance:
            outcome = run(scenario, seed=seed, progress=advance)
    except Interrupted as stop:
        _keep_runs(stop.first_runs, folder, "the run of no alternative had ended", parquet=parquet, quiet=quiet)
        raise
    found = outcome.comparison
    with folder.writing() as written:
        for name, results in outcome.first_runs.items():
            written.extend(results.save(folder.path / name, "parquet" if parquet else "csv"))
        written.extend([save(found, folder.path), write_whole(folder.path / "report.html", render_alternatives(found))])
    if json:
        common.print_json(json_module.loads(to_json(found)))
    elif not quiet:
        common.echo(
            "\n".join(
                [
                    *found.answer,
                    table(found.alternatives),
                    *(f"note: {note}" for note in found.notes),
                    *not_read(found.unread_keys),
                ]
            )
        )
    common.print_written(written, quiet=quiet)


def _compare(
    scenario: Scenario,
    policies: list[str],
    seed: int,
    folder: RunFolder,
    decisions: Path | None,
    *,
    parquet: bool,
    json: bool,
    quiet: bool,
) -> None:
    from ppdsim.results import not_read
    from ppdsim.routing.decision_log import write
    from ppdsim.scenario.keys import Command
    from ppdsim.setup import resolve
    from ppdsim.simulation.compare import Interrupted, compare, notes, table

    unread_keys = resolve(scenario, Command.POLICIES).unread_keys
    try:
        with common.progress("policies", quiet=quiet) as advance:
            compared = compare(scenario, policies, seed=seed, progress=advance)
    except Interrupted as stop:
        _keep_runs(stop.runs, folder, "the run of no policy had ended", parquet=parquet, quiet=quiet)
        raise
    rows = {
        "schema": "ppdsim/policies/1",
        "scenario": scenario.name,
        "seed": seed,
        "policies": [e.row() for e in compared],
        "unread_keys": unread_keys,
        "notes": notes(compared),
    }
    with folder.writing() as written:
        for each in compared:
            written.extend(each.results.save(folder.path / each.policy, "parquet" if parquet else "csv"))
        written.append(
            write_whole(folder.path / "policies.json", json_module.dumps(rows, indent=1, allow_nan=False) + "\n")
        )
        if decisions is not None:
            write(decisions, [(e.policy, e.results.decisions) for e in compared if e.results.decisions is not None])
            written.append(decisions)
    if json:
        common.print_json(rows)
    elif not quiet:
        said = [table(compared), *(f"note: {note}" for note in notes(compared)), *not_read(unread_keys)]
        common.echo("\n".join(said))
    common.print_written(written, quiet=quiet)


def _keep_runs(runs: Mapping[str, Results], folder: RunFolder, lost: str, *, parquet: bool, quiet: bool) -> None:
    def write(place: Path) -> list[Path]:
        return [p for name, one in runs.items() for p in one.save(place / name, "parquet" if parquet else "csv")]

    folder.keep_interrupted(write, quiet=quiet, lost=lost)
