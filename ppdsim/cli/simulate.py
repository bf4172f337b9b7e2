"""``ppdsim simulate``: run one scenario in the simulator and keep its turns."""

from __future__ import annotations

from pathlib import Path

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
    say,
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
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a scenario in the simulator: one row a turn in turns.csv, and summary.json.

    Example: ppdsim simulate one-pair --set transport=tcp -o out
    """
    from ppdsim.scenario import load, with_trace

    check_folder(out)
    chosen = load(scenario, overrides(settings, profile=profile, policy=policy))
    if trace is not None:
        chosen = with_trace(chosen, trace)

    from ppdsim.des.run import simulate as run

    results = run(chosen, seed=chosen.seed if seed is None else seed)
    paths = results.save(out)
    if json:
        print_json(results.summary)
    else:
        say(str(results), quiet=quiet)
    wrote(paths, quiet=quiet)
