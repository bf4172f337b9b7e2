"""What is kept of what a server says of itself, and of the environment: what a measurement depends on.

Servers repeat every argument that they were given, among them keys, headers, paths, addresses and loader options with a
token inside. Only arguments that the engine lists, with a plain value, get into ``run.json`` and the manifest; of the
others the names are kept, so that a reader sees what was left out.

Not modelled: whether an argument that is not listed changes a time; a release that adds one needs a line in its engine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

PLAIN = re.compile(r"[A-Za-z0-9_.+-]{0,64}")
"""A text value that may be kept: a word, never a path, an address or a document."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
"""A name of an argument that is not kept; another one is only counted."""
MOST_NAMES = 1_000
"""Names of arguments that are not kept [names]; SGLang 0.5.17 has some 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The names of one engine.

    Attributes
    ----------
    arguments, variables : frozenset of str
        Arguments of a server, and environment variables, that are kept.
    libraries : tuple of str
        Packages whose versions a profile depends on.
    """

    arguments: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()
    libraries: tuple[str, ...] = ()

    def flags(self, told: Mapping[str, object]) -> dict[str, bool | int | float | str]:
        """Return the arguments of a server that are kept, with their values.

        >>> told = {"tp_size": 2, "api_key": "secret", "dtype": "auto", "attention_backend": "/home/me/kernels"}
        >>> Kept(arguments=frozenset({"tp_size", "dtype", "attention_backend"})).flags(told)
        {'tp_size': 2, 'dtype': 'auto'}
        """
        return {name: value for name, value in told.items() if name in self.arguments and _plain(value)}  # type: ignore[misc]

    def left_out(self, told: Mapping[str, object]) -> tuple[str, ...]:
        """Return the names of the arguments that are not kept though they are given; those without a value are none.

        >>> told = {"tp_size": 2, "api_key": "secret", "lora_paths": None, "odd name": 1, "x" * 100: 1}
        >>> Kept(arguments=frozenset({"tp_size"})).left_out(told)
        ('api_key', '2 more')
        """
        kept = self.flags(told)
        out = [name for name, value in told.items() if value is not None and name not in kept]
        named = sorted(name for name in out if NAME.fullmatch(name))[:MOST_NAMES]
        return (*named, f"{len(out) - len(named)} more") if len(out) > len(named) else tuple(named)

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that are kept, with their values.

        >>> here = {"MY_API_KEY": "secret", "MC_FORCE_TCP": "1", "MC_MTU": "http://me", "PATH": "/bin"}
        >>> Kept(variables=frozenset({"MC_FORCE_TCP", "MC_MTU"})).environment(here)
        {'MC_FORCE_TCP': '1'}
        """
        return {
            name: value
            for name, value in sorted(variables.items())
            if name in self.variables and all(_plain(word) for word in value.split(","))
        }


def _plain(value: object) -> bool:
    if isinstance(value, str):
        return PLAIN.fullmatch(value) is not None
    return isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))
