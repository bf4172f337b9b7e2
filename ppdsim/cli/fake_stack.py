"""``ppdsim fake-stack``: stand-in servers behind a real router, without a GPU."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ppdsim.cli.common import JsonOption, ProfileOption, echo, print_json, print_status
from ppdsim.cli.reads import FAKE_STACK, given


def fake_stack(
    context: typer.Context,
    profile: ProfileOption = None,
    mode: Annotated[str, typer.Option(help="unified: one server; pd: prefill, decode and a router.")] = "pd",
    router: Annotated[str, typer.Option(help="real (sglang-router), mini-lb (its load balancer) or none.")] = "real",
    port_base: Annotated[
        int, typer.Option(help="Port of the router; prefill, decode, unified, bootstrap follow. 0: free ones.")
    ] = 30_000,
    time_scale: Annotated[float, typer.Option(help="Real seconds for one second of the profile.")] = 1.0,
    transport: Annotated[
        str, typer.Option(help="Transport that gives the hand-off times: tcp, nvlink or rdma.")
    ] = "tcp",
    kv_transfer: Annotated[
        str,
        typer.Option(
            help="profile: KV takes the profile's time; mooncake: bytes really travel, through the engine's library."
        ),
    ] = "profile",
    decode_radix: Annotated[
        bool, typer.Option("--decode-radix", help="Give D a prefix cache: hand-offs send what D lacks.")
    ] = False,
    kv_pool_tokens: Annotated[
        int | None, typer.Option(help="KV pool of each server; by default the profile's.")
    ] = None,
    fault: Annotated[str | None, typer.Option(help="Fault of the answering server; POST /fault sets more.")] = None,
    json: JsonOption = False,
) -> None:
    """Start stand-in servers that answer as SGLang does, timed by a profile, and print their URLs as JSON lines.

    The servers run until you press Ctrl-C. With --json, one document names all servers once they answer, and
    lines about servers that end go to stderr.

    Example: ppdsim fake-stack --mode pd --router real --port-base 30000
    """
    import time

    import orjson

    from ppdsim import library
    from ppdsim import profile as profiles
    from ppdsim.cli.documents import StandIn, StandIns
    from ppdsim.engines import ENGINES
    from ppdsim.engines.stand_in import DEFAULT_PROFILE, StackOptions
    from ppdsim.errors import InputError, nearest
    from ppdsim.types import Transport

    carried = [one.value for one in Transport if one is not Transport.NONE]
    if transport not in carried:
        meant = nearest(transport, carried)
        raise InputError(f"--transport '{transport}', expected one of: {', '.join(carried)}{meant}")
    options = StackOptions(
        profile=DEFAULT_PROFILE if profile is None else profile,
        mode=mode,
        router=router,
        port_base=port_base,
        time_scale=time_scale,
        transport=Transport(transport),
        kv_transfer=kv_transfer,
        decode_radix=decode_radix,
        kv_pool_tokens=kv_pool_tokens,
        fault=fault,
    )
    stand_in = ENGINES[profiles.load(library.find("profile", options.profile)).engine.name].stand_in
    stand_in.check(options)
    FAKE_STACK.refuse_unread(given(context), frozenset({mode}))

    def show(line: dict[str, object]) -> None:
        echo(orjson.dumps(line).decode())

    with stand_in.stack(options) as stack:
        servers = [StandIn(role=r, url=url, pid=stack.processes[r].pid) for r, url in stack.urls.items()]
        if json:
            print_json(asdict(StandIns(servers=servers)))
        else:
            for server in servers:
                show(asdict(server))
            show({"ready": True})
        seen: dict[str, int] = {}
        while len(seen) < len(stack.processes):
            time.sleep(0.2)
            for role, code in stack.ended().items():
                if role not in seen:
                    seen[role] = code
                    print_status(f"{role} has ended ({code})") if json else show({"role": role, "ended": code})
        print_status("every server has ended")
