"""What ``ppdsim serve`` starts, as a YAML file: ports, GPUs, transport, memory, further flags.

The defaults are those of the stack that the project began with: router 30000, prefill 30100, decode 30200, bootstrap
9000, the router's metrics 29000, memory fraction 0.85. Options of the command line go over the file. Units stand in the
key names.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ppdsim.errors import InputError
from ppdsim.machine.masking import is_secret, masked_line
from ppdsim.measurements.strict import explain
from ppdsim.scenario.lengths import NonNegativeInt, Positive, PositiveInt
from ppdsim.schema_keys import dotted_keys
from ppdsim.yaml_file import read, scalar

Port = Annotated[int, Field(ge=1, le=65_535)]


def _split(value: Any) -> Any:
    """Let a command stand in the file as one text, as it would be typed."""
    if isinstance(value, str):
        return tuple(shlex.split(value))
    return tuple(value) if isinstance(value, list) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_split)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ports(_Part):
    """First port of each role; the second server of a role takes the next one. `metrics` is the router's."""

    router: Port = 30_000
    prefill: Port = 30_100
    decode: Port = 30_200
    unified: Port = 30_300
    bootstrap: Port = 9_000
    metrics: Port = 29_000


class Settings(_Part):
    """Everything that decides the commands.

    GPUs are taken in groups of `tp`, one server a group. `max_total_tokens` is the KV pool of each server [tokens]; it
    takes the place of `mem_fraction_static` unless both are given. `cpu_pin` is ``auto`` or lists of cores
    (``0-3/4-7/8``), one a server: prefill, decode, unified, router. `environment` goes to every server. Flags are
    appended to a server's command, so they win over what is there.
    """

    model: str
    prefill_gpus: tuple[NonNegativeInt, ...] = ()
    decode_gpus: tuple[NonNegativeInt, ...] = ()
    unified_gpus: tuple[NonNegativeInt, ...] = ()
    tp: PositiveInt = 1
    transport: Literal["auto", "tcp", "nvlink", "rdma"] = "auto"
    ib_device: str | None = None
    decode_radix: bool = False
    dummy_weights: bool = False
    max_total_tokens: PositiveInt | None = None
    mem_fraction_static: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.85
    trust_remote_code: bool = True
    metrics: bool = True
    router: Literal["real", "mini-lb"] = "real"
    host: str = "127.0.0.1"
    ports: Ports = Ports()
    cpu_pin: str | None = None
    engine_program: Words = (sys.executable, "-m", "sglang.launch_server")
    router_program: Words = (sys.executable, "-m", "sglang_router.launch_router")
    engine_flags: Words = ()
    prefill_flags: Words = ()
    decode_flags: Words = ()
    unified_flags: Words = ()
    router_flags: Words = ()
    environment: dict[str, str] = {}
    start_timeout_s: Positive = 900.0
    stop_timeout_s: Positive = 15.0


def load(path: Path | None, options: Mapping[str, Any], assignments: Sequence[str] = ()) -> Settings:
    """Return the settings of a file with `options` over it, and ``key=value`` assignments over both.

    Parameters
    ----------
    path : Path or None
        The file; without one, the defaults.
    options : mapping
        Values by key; None says nothing.
    assignments : sequence of str
        A dotted key and its value as it would stand in the file (``ports.prefill=31100``).

    Raises
    ------
    InputError
        If the file cannot be read or is malformed, a key or a value is wrong, or an option and an assignment say the
        same key.
    """
    named = {key: value for key, value in options.items() if value is not None}
    for text in assignments:
        if (key := text.partition("=")[0].split(".")[0]) in named:
            raise InputError(f"--set {key}: an option of this call gives {key} already; give one of them")
    content = content_of(path, assignments, named)
    try:
        # Through JSON, strict means what one expects: a list becomes a tuple, but "4" is no number.
        return Settings.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if is_secret(where):
            text = f"'{where}': {first['msg'].lower()}"
        else:
            text = explain(error, dotted_keys(Settings.model_json_schema()))
        hint = " (give --model)" if text == "missing key 'model'" else ""
        raise InputError(f"{path or 'settings'}: {masked_line(text)}{hint}") from None
    except (TypeError, ValueError, RecursionError) as error:
        said = masked_line(" ".join(str(error).split())[:200])
        raise InputError(f"{path or 'settings'}: no such setting ({said})") from None


def content_of(
    path: Path | None, assignments: Iterable[str], options: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the keys and values that are given, unchecked: of a file, of options, and assignments over both.

    Raises
    ------
    InputError
        If the file cannot be read or is malformed, or an assignment is.
    """
    content = {} if path is None else read(path, may_be_empty=True)[0]
    content.update(options)
    for text in assignments:
        _assign(content, text)
    return content


def _assign(content: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    shown = f"--set {masked_line(text)}"
    if not equals or not key:
        raise InputError(f"{shown}: expected KEY=VALUE, such as ports.prefill=31100")
    *parents, last = key.split(".")
    place = content
    for parent in parents:
        inner = place.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise InputError(f"{shown}: '{parent}' has no keys of its own")
        place = inner
    place[last] = scalar(value, shown)
