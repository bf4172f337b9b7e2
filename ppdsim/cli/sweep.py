"""``ppdsim sweep``: every point of a grid over a scenario's keys, each with the same seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli import common
from ppdsim.cli.run_folder import claim, of_scenario
from ppdsim.errors import InputError


def sweep(
    scenario: common.ScenarioArgument,
    grid: Annotated[
        list[str],
        typer.Option(
            "--grid", metavar="KEY=A,B,C", help="A key of the scenario, as --set takes it, and its values. Repeatable."
        ),
    ],
    seeds: Annotated[int, typer.Option(help="Seeds of every point; all points have the same ones.", min=1)] = 5,
    out: common.OutOption = Path("out"),
    jobs: Annotated[
        int | None, typer.Option(help="Processes on this machine; by default one per core.", min=1, show_default=False)
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run on the workers of this dask scheduler, such as tcp://host:8786."),
    ] = None,
    by: Annotated[
        str, typer.Option(help="Column of the table that decides which value is better, such as ttft_p99_s.")
    ] = "j_s",
    profile: common.ProfileOption = None,
    policy: common.PolicyOption = None,
    seed: common.SeedOption = None,
    trace: common.TraceOption = None,
    settings: common.SetOption = None,
    force: common.ForceOption = False,
    json: common.JsonOption = False,
    quiet: common.QuietOption = False,
) -> None:
    """Run a scenario at every point of a grid; write sweep.csv (a row per point and seed) and sweep.json (the answer).

    Rows that the folder already holds are not run again. If you press Ctrl-C, the finished rows are kept, and the same
    command continues.
    'ppdsim report DIR' draws it.

    Example: ppdsim sweep one-pair --grid routing.policy=always-p,cost-aware --grid workload.arrivals.rate_per_s=1,2,3
    """
    from ppdsim import result_files
    from ppdsim.results import with_notes
    from ppdsim.scenario import load
    from ppdsim.sweep import executors, save, words
    from ppdsim.sweep.axes import parse_axes
    from ppdsim.sweep.measures import MEASURES
    from ppdsim.sweep.plan import make_plan
    from ppdsim.sweep.run import Interrupted, run_rows
    from ppdsim.sweep.summary import summarise

    judged = MEASURES[by].column
    if jobs is not None and cluster is not None:
        raise InputError(
            f"--jobs {jobs} with --cluster {cluster}: expected one of them; the cluster has its own workers"
        )
    start = executors.local(jobs) if cluster is None else executors.cluster(cluster)
    texts = common.overrides(settings, profile=profile, policy=policy, seed=seed)
    plan = make_plan(
        scenario,
        parse_axes(grid),
        seeds=seeds,
        settings=texts,
        trace=trace,
    )
    # Rows are known by their content, so a finer grid or more seeds of one scenario go on in its folder.
    decided_by = of_scenario(load(scenario, texts, trace=trace), seed=None)
    with claim(out, command="sweep", on=plan.scenario, decided_by=decided_by, force=force).writing() as written:
        try:
            with common.progress("sweep", quiet=quiet) as advance:
                found = run_rows(plan, out, start, advance)
        except Interrupted as stop:
            if stop.rows:
                answer = summarise(plan, stop.rows, judged)
                written.extend(save.save(plan, stop.rows, answer, out))
                common.print_written(written, quiet=quiet)
                common.print_status(f"{answer.missing} rows are left; the same command goes on with them", quiet=quiet)
            else:
                common.print_status("nothing is kept: no row had ended", quiet=quiet)
            raise
        answer = summarise(plan, found, judged)
        written.extend(save.save(plan, found, answer, out))
    if json:
        common.echo_json(result_files.to_json(answer))
    elif not quiet:
        common.echo(with_notes([words.table(answer), *words.crossings(answer)], (), answer.unread_keys))
    common.print_written(written, quiet=quiet)
