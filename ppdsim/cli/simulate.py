"""``ppdsim simulate``: run one scenario in the simulator and keep its turns."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    output = _Output(folder=folder, turns_format="parquet" if parquet else "csv", json=json, quiet=quiet)
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
        _what_if(chosen, output)
    elif several and policy is not None:
        _compare(chosen, policy, output, decisions)
    else:
        _run(chosen, output, decisions, timeline)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Output:
    """Where results go, and what is printed of them."""

    folder: RunFolder
    turns_format: Literal["csv", "parquet"]
    json: bool
    quiet: bool

    def answer(self, document: Callable[[], Any], text: Callable[[], str], written: Iterable[Path]) -> None:
        """End the command: print the document or the text, and the files."""
        if self.json:
            common.print_json(document())
        elif not self.quiet:
            common.echo(text())
        common.print_written(written, quiet=self.quiet)

    def keep(self, runs: Mapping[str, Results], lost: str) -> None:
        """Keep the runs that had ended at Ctrl-C, a folder each; `lost` is said where there is none."""

        def write(place: Path) -> list[Path]:
            return [path for name, one in runs.items() for path in one.save(place / name, self.turns_format)]

        self.folder.keep_interrupted(write, quiet=self.quiet, lost=lost)


def _run(scenario: Scenario, output: _Output, decisions: Path | None, timeline: Path | None) -> None:
    from ppdsim.des import chrome_trace
    from ppdsim.des.cluster import Interrupted
    from ppdsim.des.timeline import Timeline
    from ppdsim.routing.decision_log import write
    from ppdsim.simulation.run import simulate as run

    record = None if timeline is None else Timeline()
    try:
        results = run(scenario, seed=scenario.seed, decisions=decisions is not None, timeline=record)
    except Interrupted as stop:
        output.folder.keep_interrupted(stop.results.save, quiet=output.quiet, lost="no turn had ended")
        raise
    with output.folder.writing() as written:
        written.extend(results.save(output.folder.path, output.turns_format))
        if decisions is not None and results.decisions is not None:
            write(decisions, [(scenario.routing.policy, results.decisions)])
            written.append(decisions)
        if timeline is not None and record is not None:
            chrome_trace.write(timeline, record, results.provenance)
            written.append(timeline)
    output.answer(results.summary, results.__str__, written)


def _what_if(scenario: Scenario, output: _Output) -> None:
    from ppdsim.report import render_alternatives
    from ppdsim.results import with_notes
    from ppdsim.whatif import Interrupted, run, save, table, to_json

    try:
        with common.progress("alternatives", quiet=output.quiet) as advance:
            outcome = run(scenario, seed=scenario.seed, progress=advance)
    except Interrupted as stop:
        output.keep(stop.first_runs, "the run of no alternative had ended")
        raise
    found, path = outcome.comparison, output.folder.path
    with output.folder.writing() as written:
        for name, results in outcome.first_runs.items():
            written.extend(results.save(path / name, output.turns_format))
        written.extend([save(found, path), write_whole(path / "report.html", render_alternatives(found))])
    output.answer(
        lambda: json_module.loads(to_json(found)),
        lambda: with_notes([*found.answer, table(found.alternatives)], found.notes, found.unread_keys),
        written,
    )


def _compare(scenario: Scenario, policies: list[str], output: _Output, decisions: Path | None) -> None:
    from ppdsim.results import with_notes
    from ppdsim.routing.decision_log import write
    from ppdsim.scenario.keys import Command
    from ppdsim.setup import resolve
    from ppdsim.simulation.compare import Interrupted, compare, notes, table

    unread_keys = resolve(scenario, Command.POLICIES).unread_keys
    try:
        with common.progress("policies", quiet=output.quiet) as advance:
            compared = compare(scenario, policies, seed=scenario.seed, progress=advance)
    except Interrupted as stop:
        output.keep(stop.runs, "the run of no policy had ended")
        raise
    rows = {
        "schema": "ppdsim/policies/1",
        "scenario": scenario.name,
        "seed": scenario.seed,
        "policies": [e.row() for e in compared],
        "unread_keys": unread_keys,
        "notes": notes(compared),
    }
    path = output.folder.path
    with output.folder.writing() as written:
        for each in compared:
            written.extend(each.results.save(path / each.policy, output.turns_format))
        written.append(write_whole(path / "policies.json", json_module.dumps(rows, indent=1, allow_nan=False) + "\n"))
        if decisions is not None:
            write(decisions, [(e.policy, e.results.decisions) for e in compared if e.results.decisions is not None])
            written.append(decisions)
    output.answer(lambda: rows, lambda: with_notes([table(compared)], notes(compared), unread_keys), written)
