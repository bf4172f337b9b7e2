"""Which options ``calibrate``, ``serve`` and ``fake-stack`` read: what is given and not read is refused by name.

A call has facets: servers are started or joined, there is a pair of P and D, a unified server, or neither. Each
option has a row that says which facets it needs; the words of a facet say which options bring it about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import typer

from ppdsim.errors import InputError

Needs = tuple[frozenset[str], ...]
"""Alternatives, each of them facets that must be there together."""
ALWAYS: Needs = (frozenset(),)


def needs(*alternatives: str) -> Needs:
    """Return what an option needs, each alternative as facets joined by ``+``.

    >>> [sorted(each) for each in needs("joined+pair", "transfer")]
    [['joined', 'pair'], ['transfer']]
    """
    return tuple(frozenset(text.split("+")) for text in alternatives)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionTable:
    """What a command reads when.

    `facets` has the words for each facet: what has it, and the options for that. `calls` are the kinds of calls by
    their facets, in words that follow "not read where". `options` has a row for each parameter of the command.
    """

    facets: Mapping[str, str]
    calls: Mapping[frozenset[str], str]
    options: Mapping[str, Needs]

    def reads(self, option: str, here: frozenset[str]) -> bool:
        """Return whether an option matters in a call of these facets."""
        return any(each <= here for each in self.options[option])

    def refuse_unread(self, given: Mapping[str, str], here: frozenset[str]) -> None:
        """Refuse what is given for a call and not read by it.

        Parameters
        ----------
        given : mapping
            Options as they are typed, by the name of their parameter.
        here : frozenset of str
            The facets of the call.

        Raises
        ------
        InputError
            Naming the options, why they do not matter here, and what would make them matter.
        """
        unread = [name for name in given if not self.reads(name, here)]
        if unread:
            needed = self.options[unread[0]]
            alike = ", ".join(given[name] for name in unread if self.options[name] == needed)
            raise InputError(f"{alike}: not read where {self.calls[here]}; {self.matters(needed, here)}")

    def matters(self, needed: Needs, here: frozenset[str]) -> str:
        """Return what an option is for that needs these facets: those that the call lacks."""
        lacking = min((each - here for each in needed), key=len)
        return "for " + " and ".join(self.facets[facet] for facet in self.facets if facet in lacking)


def given(context: typer.Context) -> dict[str, str]:
    """Return the options and arguments of a call that were typed, as they are typed, by parameter."""
    found = {}
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            found[name] = parameter.opts[0] if parameter.param_type_name == "option" else (parameter.metavar or name)
    return found


STARTED = "servers that ppdsim starts: --prefill-gpu with --decode-gpu, or --unified-gpu, and no URL"
PAIR = "a pair of P and D: --prefill-gpu with --decode-gpu"
CALIBRATE = OptionTable(
    facets={
        "transfer": "a link that is measured alone: --only transfer",
        "servers": "servers that are measured: without --only",
        "joined": "servers that run already: --unified-url, or --router-url with --prefill-url and --decode-url",
        "started": STARTED,
        "pair": f"{PAIR}, or --router-url with --prefill-url and --decode-url",
        "unified": "a unified server: --unified-gpu or --unified-url",
    },
    calls={
        frozenset({"transfer"}): "--only transfer measures a link and no servers",
        frozenset({"servers", "joined", "unified"}): "--unified-url joins a server that runs already",
        frozenset({"servers", "joined", "pair"}): "--router-url joins a pair that runs already",
        frozenset({"servers", "joined", "pair", "unified"}): "--unified-url and --router-url join servers that run",
        frozenset({"servers", "started", "unified"}): "only a unified server is started",
        frozenset({"servers", "started", "pair"}): "a pair of P and D is started",
        frozenset({"servers", "started", "pair", "unified"}): "servers are started",
    },
    options={
        "out": ALWAYS,
        "engine": ALWAYS,
        "model": needs("servers"),
        "plan": ALWAYS,
        "unified_url": needs("joined+unified"),
        "router_url": needs("joined+pair"),
        "prefill_url": needs("joined+pair"),
        "decode_url": needs("joined+pair"),
        "api_key_env": needs("servers"),
        "prefill_gpu": needs("started"),
        "decode_gpu": needs("started"),
        "unified_gpu": needs("started"),
        "settings": needs("started"),
        "assign": needs("started"),
        "cpu_pin": needs("started"),
        "transport": needs("pair", "transfer"),
        "decode_radix": needs("joined+pair"),
        "dummy_weights": needs("servers"),
        "only": ALWAYS,
        "gpus": needs("pair", "transfer"),
        "budget_s": needs("servers"),
        "name": needs("servers"),
        "resume": ALWAYS,
        "measure_only": needs("servers"),
        "dry_run": ALWAYS,
        "json": ALWAYS,
        "quiet": ALWAYS,
    },
)
"""``started`` servers get a prefix cache on D as the plan needs it, so that only a running D is told of."""

SERVE = OptionTable(
    facets={
        "stop": "servers that run: --stop FOLDER",
        "started": "servers to start: without --stop",
        "pair": PAIR,
        "unified": "a unified server: --unified-gpu",
    },
    calls={
        frozenset({"stop"}): "--stop ends servers",
        frozenset({"started", "unified"}): "only unified servers are started",
        frozenset({"started", "pair"}): "a pair of P and D is started",
        frozenset({"started", "pair", "unified"}): "servers are started",
    },
    options={
        "engine": needs("started"),
        "model": needs("started"),
        "prefill_gpu": needs("started"),
        "decode_gpu": needs("started"),
        "unified_gpu": needs("started"),
        "tp": needs("started"),
        "transport": needs("started+pair"),
        "use_tcp": needs("started+pair"),
        "decode_radix": needs("started+pair"),
        "dummy_weights": needs("started"),
        "max_total_tokens": needs("started"),
        "mem_fraction": needs("started"),
        "router": needs("started+pair"),
        "cpu_pin": needs("started"),
        "engine_flag": needs("started"),
        "engine_program": needs("started"),
        "settings": needs("started"),
        "assign": needs("started"),
        "log_dir": needs("started"),
        "api_key_env": needs("started"),
        "keep_running": needs("started"),
        "stop": ALWAYS,
        "dry_run": needs("started"),
        "json": ALWAYS,
        "quiet": ALWAYS,
        "flags": needs("started"),
    },
)

FAKE_STACK = OptionTable(
    facets={"pd": "a stand-in pair of P and D: --mode pd", "unified": "one stand-in server: --mode unified"},
    calls={
        frozenset({"unified"}): "--mode unified starts one server, which hands nothing over",
        frozenset({"pd"}): "--mode pd starts a pair",
    },
    options={
        "profile": ALWAYS,
        "mode": ALWAYS,
        "router": needs("pd"),
        "port_base": ALWAYS,
        "time_scale": ALWAYS,
        "transport": needs("pd"),
        "kv_transfer": needs("pd"),
        "decode_radix": needs("pd"),
        "kv_pool_tokens": ALWAYS,
        "fault": ALWAYS,
        "json": ALWAYS,
    },
)
