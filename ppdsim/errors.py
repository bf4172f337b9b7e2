"""Errors that ppdsim raises on purpose, and the exit code each one ends the command line with.

::

    PpdsimError                exit code 1
    ├── GateError              1    the command ran, but its answer fails a gate
    ├── InputError             2    something the user wrote is wrong
    │   ├── MeasurementError   2    a row or a manifest of raw measurements
    │   ├── ProfileError       2    a calibration profile
    │   ├── ScenarioError      2    a scenario, or an override of one
    │   ├── WorkloadError      2    a trace or a conversation file
    │   └── UnknownNameError   2    a name that is not registered or installed
    └── EnvironmentProblem     3    the machine lacks something (GPU, engine, extra)

A message is one line: where, what was given, what was expected, the nearest valid name, what to run next.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

EXIT_OK = 0
EXIT_GATE = 1
EXIT_INPUT = 2
EXIT_ENVIRONMENT = 3
EXIT_INTERRUPTED = 130


class PpdsimError(Exception):
    r"""Base of every error that ppdsim raises on purpose; its message is one line whatever the user wrote.

    >>> print(PpdsimError("unknown arm '\n'"))
    unknown arm '\n'
    """

    exit_code = EXIT_GATE

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


class GateError(PpdsimError):
    """The command ran to its end, but the answer fails a gate the user set."""


class InputError(PpdsimError):
    """Something that the user wrote cannot be used."""

    exit_code = EXIT_INPUT


class MeasurementError(InputError):
    """A raw measurement row or its manifest is malformed or impossible."""


class ProfileError(InputError):
    """A calibration profile is malformed or lacks what was asked of it."""


class ScenarioError(InputError):
    """A scenario file, or an override of one of its keys, is wrong."""


class WorkloadError(InputError):
    """A trace or conversation file is malformed or empty."""


class UnknownNameError(InputError):
    """A name that is neither registered nor installed."""


class EnvironmentProblem(PpdsimError):
    """The machine lacks something that the command needs."""

    exit_code = EXIT_ENVIRONMENT


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the valid name closest to `name`, or an empty string.

    Where none is spelled alike, the shortest that has all its words.

    >>> nearest("one-pear", ["one-pair", "cache-rate"])
    "; did you mean 'one-pair'?"
    >>> nearest("decode_radix", ["page_size", "disaggregation_decode_enable_radix_cache"])
    "; did you mean 'disaggregation_decode_enable_radix_cache'?"
    >>> nearest("zzz", ["one-pair"])
    ''
    """
    names = list(valid)
    match = difflib.get_close_matches(name, names, n=1)
    if not match:
        words = _words(name)
        match = sorted((each for each in names if words and words <= _words(each)), key=len)
    return f"; did you mean '{match[0]}'?" if match else ""


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))


def unknown(kind: str, name: str, valid: Iterable[str], *, hint: str = "") -> UnknownNameError:
    """Build the error for a name that does not exist: it lists the valid ones and the nearest.

    >>> str(unknown("policy", "always-q", ["always-p", "always-d"]))
    "unknown policy 'always-q' (valid: always-d, always-p); did you mean 'always-p'?"
    """
    names = sorted(valid)
    listed = ", ".join(names) if names else "none installed"
    tail = f" {hint}" if hint else ""
    return UnknownNameError(f"unknown {kind} '{name}' (valid: {listed}){nearest(name, names)}{tail}")
