"""``ppdsim capacity``: the largest arrival rate at which a fleet keeps its SLO."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ppdsim.cli import common
from ppdsim.cli.run_folder import RunFolder, claim, of_scenario
from ppdsim.files import write_whole

if TYPE_CHECKING:
    from ppdsim.capacity_result import CapacityResult


def capacity(
    scenario: common.ScenarioArgument,
    slo: Annotated[
        str | None,
        typer.Option(
            help="Limits instead of the scenario's: ttft_ms, tpot_ms, itl_max_ms, such as ttft_ms=500,tpot_ms=25."
        ),
    ] = None,
    attained: Annotated[float, typer.Option(help="Share of the turns that must keep every limit.")] = 0.9,
    seeds: Annotated[int, typer.Option(help="Number of draws of the workload; the interval is over them.")] = 5,
    tolerance: Annotated[
        float, typer.Option(help="Width of the last bracket of the bisection, as a share of the rate.")
    ] = 0.02,
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
    """Find the largest arrival rate that keeps the SLO, and what limits a higher one.

    It writes capacity.json and report.html. For a scenario with alternatives, each alternative has these files in a
    folder of its name, and capacities.json ranks the alternatives by the rate per GPU. The exit code is 1 if no rate
    keeps the SLO.

    If you press Ctrl-C, the folder 'interrupted' keeps the answer of the finished seeds.

    Example: ppdsim capacity one-pair --slo ttft_ms=500,tpot_ms=25 -o out
    """
    from ppdsim.capacity import (
        Interrupted,
        capacity_of_each,
        parse_limits,
        save,
        save_each,
        sentence,
        table,
        to_json,
    )
    from ppdsim.capacity import capacity as run
    from ppdsim.errors import GateError, InputError
    from ppdsim.report import render_capacity
    from ppdsim.scenario import load

    limits = None if slo is None else parse_limits(slo)
    chosen = load(scenario, common.overrides(settings, profile=profile, policy=policy, seed=seed), trace=trace)
    replaced = [text for path, text in chosen.asked if limits is not None and path[0] == "slo"]
    if replaced:
        raise InputError(f"{replaced[0]}: replaced by --slo {slo}; give one of them")
    decided_by = of_scenario(
        chosen, **{"--slo": slo, "--attained": attained, "--seeds": seeds, "--tolerance": tolerance}
    )
    folder = claim(out, command="capacity", on=chosen.name, decided_by=decided_by, force=force)
    search: dict[str, Any] = {
        "seed": chosen.seed, "seeds": seeds, "slo": limits, "wanted": attained, "tolerance": tolerance,
    }  # fmt: skip
    if chosen.alternatives:
        try:
            with common.progress("alternatives", quiet=quiet) as advance:
                each = capacity_of_each(chosen, progress=advance, **search)
        except Interrupted as stop:
            _keep(stop.answers, folder, quiet=quiet)
            raise
        with folder.writing() as written:
            for alternative in each.alternatives:
                inside, carried = out / alternative.name, alternative.capacity
                written.extend([save(carried, inside), write_whole(inside / "report.html", render_capacity(carried))])
            written.append(save_each(each, out))
        if json:
            common.echo_json(to_json(each))
        elif not quiet:
            common.echo(table(each))
        common.print_written(written, quiet=quiet)
        if not any(alternative.capacity.rate_per_s for alternative in each.alternatives):
            raise GateError("no arrival rate keeps the SLO", answered=True)
        return
    try:
        with common.progress("seeds", quiet=quiet) as advance:
            answer = run(chosen, progress=advance, **search)
    except Interrupted as stop:
        _keep(stop.answers, folder, quiet=quiet)
        raise
    with folder.writing() as written:
        written.extend([save(answer, out), write_whole(out / "report.html", render_capacity(answer))])
    if json:
        common.echo_json(to_json(answer))
    elif not quiet:
        common.echo(sentence(answer))
    common.print_written(written, quiet=quiet)
    if not answer.rate_per_s:
        raise GateError("no arrival rate keeps the SLO", answered=True)


def _keep(answers: Mapping[str, CapacityResult], folder: RunFolder, *, quiet: bool) -> None:
    from ppdsim.capacity import save

    def write(place: Path) -> list[Path]:
        return [save(answer, place / name) for name, answer in answers.items()]

    folder.keep_interrupted(write, quiet=quiet, lost="no seed had ended")
