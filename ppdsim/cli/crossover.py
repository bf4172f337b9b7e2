"""``ppdsim crossover``: the main job, from a scenario to the answer in one sentence and the report."""

from __future__ import annotations

from pathlib import Path

from ppdsim.cli import common
from ppdsim.cli.run_folder import claim, of_scenario
from ppdsim.files import write_whole


def crossover(
    scenario: common.ScenarioArgument,
    out: common.OutOption = Path("out"),
    profile: common.ProfileOption = None,
    policy: common.PolicyOption = None,
    seed: common.SeedOption = None,
    trace: common.TraceOption = None,
    settings: common.SetOption = None,
    force: common.ForceOption = False,
    json: common.JsonOption = False,
    quiet: common.QuietOption = False,
) -> None:
    """Find up to which load an append on the decode machine is the cheaper arm; write crossover.json and report.html.

    If you press Ctrl-C during the simulation, formulas-only.json keeps the results of the formulas. If you press it
    earlier, no file is written.

    Example: ppdsim crossover cache-rate -o out
    """
    from ppdsim.answers import to_json
    from ppdsim.crossover import Interrupted
    from ppdsim.crossover import crossover as run
    from ppdsim.report import render
    from ppdsim.results import with_notes
    from ppdsim.scenario import load
    from ppdsim.scenario.keys import Command
    from ppdsim.setup import resolve

    chosen = load(scenario, common.overrides(settings, profile=profile, policy=policy, seed=seed), trace=trace)
    decided_by = of_scenario(chosen)
    folder = claim(out, command="crossover", on=chosen.name, decided_by=decided_by, force=force)
    setup = resolve(chosen, Command.CROSSOVER)
    try:
        with common.progress("simulating", quiet=quiet) as advance:
            answer = run(setup, seed=chosen.seed, progress=advance)
    except Interrupted as stop:
        with folder.writing(whole=False) as written:
            written.append(write_whole(out / "formulas-only.json", to_json(stop.answer)))
        common.print_written(written, quiet=quiet)
        raise
    except KeyboardInterrupt:
        common.print_status("nothing is kept: the formulas were not ready", quiet=quiet)
        raise
    document = to_json(answer)
    with folder.writing() as written:
        written.extend(
            [write_whole(out / "crossover.json", document), write_whole(out / "report.html", render(answer))]
        )
    if json:
        common.echo_json(document)
    elif not quiet:
        common.echo(with_notes([answer.headline], (), answer.unread_keys))
    common.print_written(written, quiet=quiet)
