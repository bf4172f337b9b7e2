"""``ppdsim serve``: start the engine's servers, send one request, and shut everything down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ppdsim.cli.common import JsonOption, QuietOption, check_folder, echo, print_json, print_status
from ppdsim.cli.reads import SERVE, given
from ppdsim.cli.servers import ApiKeyOption, EngineOption, engine_of, gpus_of, key_of, progress_printer

if TYPE_CHECKING:
    from ppdsim.cli.documents import Server
    from ppdsim.engines.base import AbstractEngine
    from ppdsim.engines.launch.first_request import FirstRequest
    from ppdsim.engines.launch.launcher import Settings
    from ppdsim.engines.launch.specs import ServerSpec
    from ppdsim.engines.launch.stack import Stack


def serve(
    context: typer.Context,
    engine: EngineOption = None,
    model: Annotated[str | None, typer.Option(help="Folder of the model (or its name on a hub).")] = None,
    prefill_gpu: Annotated[str | None, typer.Option(help="GPUs of prefill servers, such as 0 or 0,1.")] = None,
    decode_gpu: Annotated[str | None, typer.Option(help="GPUs of decode servers.")] = None,
    unified_gpu: Annotated[str | None, typer.Option(help="GPUs of unified servers.")] = None,
    tp: Annotated[
        int | None, typer.Option(help="GPUs per server: consecutive ones of each list; by default 1.")
    ] = None,
    transport: Annotated[
        str | None,
        typer.Option(help="tcp, nvlink, rdma, or auto: the fastest that the machine has, which is the default."),
    ] = None,
    use_tcp: Annotated[bool, typer.Option("--use-tcp", help="The same as --transport tcp.")] = False,
    decode_radix: Annotated[
        bool, typer.Option("--decode-radix", help="Give D a prefix cache: hand-offs send what D lacks.")
    ] = False,
    dummy_weights: Annotated[
        bool, typer.Option("--dummy-weights", help="Random weights: a folder with a config.json is enough.")
    ] = False,
    max_total_tokens: Annotated[
        int | None, typer.Option(help="KV pool of each server; needed where servers share a GPU.")
    ] = None,
    mem_fraction: Annotated[
        float | None, typer.Option(help="Share of GPU memory for weights and KV pool; by default 0.85.")
    ] = None,
    router: Annotated[
        str | None, typer.Option(help="real (sglang-router) or mini-lb (its debugging balancer); by default real.")
    ] = None,
    cpu_pin: Annotated[
        str | None, typer.Option(help="Cores of each server: auto, or lists such as 0-3/4-7/8 (P, D, U, router).")
    ] = None,
    engine_flag: Annotated[
        list[str] | None, typer.Option(help="A flag for every server, such as --engine-flag=--sleep-on-idle.")
    ] = None,
    engine_program: Annotated[
        str | None, typer.Option(help="Program to start as a server; by default python -m sglang.launch_server.")
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="YAML file of settings; options override it.")] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set one key of the settings, such as ports.prefill=31100."),
    ] = None,
    api_key_env: ApiKeyOption = None,
    log_dir: Annotated[Path, typer.Option(help="Folder of the logs and of servers.json.")] = Path("ppdsim-serve"),
    keep_running: Annotated[bool, typer.Option("--keep-running", help="Leave the servers running.")] = False,
    stop: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Shut down the servers whose logs are in a folder.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the commands, and start nothing.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    flags: Annotated[
        list[str] | None, typer.Argument(metavar="FLAGS", help="After --: further flags for every server.")
    ] = None,
) -> None:
    """Start SGLang's prefill, decode or unified servers and a router, send one request, and shut everything down.

    Example: ppdsim serve --model M --prefill-gpu 0 --decode-gpu 1 --use-tcp
    """
    from ppdsim.engines.launch.settings_file import refuse_unread, unread_of_file
    from ppdsim.errors import InputError

    named = given(context)
    if stop is not None:
        SERVE.refuse_unread(named, frozenset({"stop"}))
        _stop(stop, json=json, quiet=quiet)
        return
    if use_tcp and transport not in (None, "tcp"):
        raise InputError(f"--use-tcp and --transport {transport} contradict each other")
    if flags and not flags[0].startswith("-"):
        raise InputError(f"'{flags[0]}': not an option; flags for the servers stand after --")
    options: dict[str, Any] = {
        "model": model,
        "prefill_gpus": gpus_of("--prefill-gpu", prefill_gpu),
        "decode_gpus": gpus_of("--decode-gpu", decode_gpu),
        "unified_gpus": gpus_of("--unified-gpu", unified_gpu),
        "tp": tp,
        "transport": "tcp" if use_tcp else transport,
        "decode_radix": decode_radix or None,
        "dummy_weights": dummy_weights or None,
        "max_total_tokens": max_total_tokens,
        "mem_fraction_static": mem_fraction,
        "router": router,
        "cpu_pin": cpu_pin,
        "engine_program": engine_program,
        "engine_flags": [*(engine_flag or []), *(flags or [])] or None,
    }
    check_folder(log_dir, f"--log-dir {log_dir}")
    of = engine_of(engine)
    launcher = of.launcher
    chosen = launcher.load(settings, options, assign or [])
    launcher.check(chosen)

    def unread(keys: Iterable[str]) -> Mapping[str, str]:
        return launcher.unread(keys, chosen)

    has = {"pair": bool(chosen.prefill_gpus), "unified": bool(chosen.unified_gpus)}
    SERVE.refuse_unread(named, frozenset({"started", *(facet for facet, there in has.items() if there)}))
    refuse_unread(assign or [], unread, instead={})
    if (line := unread_of_file(settings, unread, instead={})) is not None:
        print_status(line, quiet=quiet)
    _run(
        of,
        chosen,
        log_dir,
        key=key_of(api_key_env),
        keep_running=keep_running,
        dry_run=dry_run,
        json=json,
        quiet=quiet,
    )


def _run(
    engine: AbstractEngine,
    settings: Settings,
    log_dir: Path,
    *,
    key: str | None,
    keep_running: bool,
    dry_run: bool,
    json: bool,
    quiet: bool,
) -> None:
    import os

    from ppdsim.cli.documents import Served
    from ppdsim.engines.launch.placement import cores_note, link_note
    from ppdsim.engines.launch.shell import changes, script, shown
    from ppdsim.engines.launch.stack import Stack
    from ppdsim.machine.host import ThisMachine

    launcher, machine = engine.launcher, ThisMachine()
    host = launcher.host(machine, not dry_run)
    specs, transports = launcher.layout(settings, host), launcher.transports(settings, host)
    transport = transports[0] if settings.prefill_gpus else None
    served = Served(
        transport=None if transport is None else transport.value,
        servers=[_described(spec, changes(spec, os.environ)[1]) for spec in map(shown, specs)],
        log_dir=str(log_dir),
        keep_running=keep_running,
        notes=[
            note for note in (cores_note(settings, host), link_note(settings, host, transports)) if note is not None
        ],
    )
    described: dict[str, Any] = asdict(served)
    if dry_run:
        end = f"ppdsim serve --stop {log_dir}" if keep_running else "all are taken down"
        lines = [*(f"# {note}" for note in served.notes), script(specs, log_dir, os.environ)]
        lines.append(f"# then one request a way in; to end: {end}")
        print_json(described) if json else echo("\n".join(lines))
        return
    engine.require_client()
    launcher.require_programs(settings)
    _check_model(settings.model)
    if transport is not None:
        launcher.refuse_missing_link(transport, machine)
    stack = Stack(
        specs,
        log_dir=log_dir,
        progress=progress_printer(quiet=quiet),
        keep_running=keep_running,
        start_timeout_s=settings.start_timeout_s,
        stop_timeout_s=settings.stop_timeout_s,
    )
    with stack:
        described["requests"] = _requests(engine, stack, key=key, json=json)
        if keep_running:
            described["pids"] = {name: server.popen.pid for name, server in stack.servers.items()}
    if keep_running:
        for name, pid in described["pids"].items():
            print_status(f"{name}: pid {pid}, {stack.urls[name]}", quiet=quiet)
        print_status(f"the servers are up; to end them: ppdsim serve --stop {log_dir}", quiet=quiet)
    if json:
        print_json(described)


def _requests(engine: AbstractEngine, stack: Stack, *, key: str | None, json: bool) -> list[dict[str, Any]]:
    """Send a request to each entry and print what it took."""
    from dataclasses import asdict, replace

    from ppdsim.engines.launch.first_request import first_request

    found = []
    for name, endpoints in stack.endpoints.items():
        keyed = replace(endpoints, key=key)
        request = first_request(engine.client(keyed), keyed, hand_offs=engine.launcher.hand_offs, failure=stack.failure)
        via = "router" if name == "pd" else name
        found.append({"via": via, **asdict(request)})
        if not json:
            echo(_in_words(via, request))
    return found


def _in_words(via: str, request: FirstRequest) -> str:
    from ppdsim.units import format_s

    tpot = "" if request.tpot_s is None else f", TPOT {format_s(request.tpot_s)}"
    moved = "not reported" if request.kv_transfer_s is None else format_s(request.kv_transfer_s)
    transfer = f", KV transfer {moved}" if via == "router" else ""
    return (
        f"first request through {via}, {request.prompt_tokens} + {request.output_tokens} tokens: "
        f"TTFT {format_s(request.ttft_s)}{tpot}, E2E {format_s(request.e2e_s)}{transfer}"
    )


def _described(spec: ServerSpec, environment: dict[str, str]) -> Server:
    from ppdsim.cli.documents import Server

    return Server(
        name=spec.name,
        role=spec.role.value,
        url=spec.url,
        gpus=spec.gpus,
        wave=spec.wave,
        environment=environment,
        command=spec.argv,
    )


def _check_model(model: str) -> None:
    """Refuse a folder that holds no model; a name that is no path is left to the engine."""
    from ppdsim.errors import InputError

    folder = Path(model).expanduser()
    looks_local = folder.exists() or model.startswith(("/", ".", "~"))
    if looks_local and not (folder / "config.json").is_file():
        raise InputError(f"--model {model}: no config.json there, expected the folder of a Hugging Face model")


def _stop(folder: Path, *, json: bool, quiet: bool) -> None:
    from ppdsim.cli.documents import Stopped
    from ppdsim.engines.launch.state import stop

    ended = stop(folder, grace_s=15.0)
    if json:
        print_json(asdict(Stopped(stopped={server.name: server.pid for server in ended})))
    for server in ended:
        print_status(f"ended {server.name} (pid {server.pid})", quiet=quiet)
    if not ended:
        print_status(f"{folder}: its servers had ended already", quiet=quiet)
