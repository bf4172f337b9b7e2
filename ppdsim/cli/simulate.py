"""``ppdsim simulate``: run one scenario in the simulator and keep its turns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli.common import (
    JsonOption,
    OutOption,
    PolicyOption,
    ProfileOption,
    QuietOption,
    ScenarioArgument,
    SeedOption,
    SetOption,
    TraceOption,
    check_folder,
    overrides,
    print_json,
    wrote,
)


def simulate(
    scenario: ScenarioArgument,
    out: OutOption = Path("out"),
    profile: ProfileOption = None,
    policy: PolicyOption = None,
    seed: SeedOption = None,
    trace: TraceOption = None,
    settings: SetOption = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write turns.parquet in place of turns.csv.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a scenario in the simulator: one row a turn in turns.csv, and summary.json.

    Ctrl-C keeps the turns that had ended, in a folder 'interrupted'.

    Example: ppdsim simulate one-pair --set transport=tcp -o out
    """
    from ppdsim.scenario import load, with_trace

    check_folder(out)
    chosen = load(scenario, overrides(settings, profile=profile, policy=policy))
    if trace is not None:
        chosen = with_trace(chosen, trace)

    from ppdsim.des.cluster import Interrupted
    from ppdsim.des.run import simulate as run

    try:
        results = run(chosen, seed=chosen.seed if seed is None else seed)
    except Interrupted as stop:
        wrote(stop.results.save(out / "interrupted"), quiet=quiet)
        raise
    paths = results.save(out, "parquet" if parquet else "csv")
    if json:
        print_json(results.summary())
    elif not quiet:
        typer.echo(str(results))
    wrote(paths, quiet=quiet)
