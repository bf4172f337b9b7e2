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

from ppdsim.printable import printable

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

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(printable(message))
        self.answered = answered


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


def nearest(name: str, valid: Iterable[str], *, elsewhere: Iterable[str] = (), hardware: bool = False) -> str:
    """Return ``"; did you mean 'x'?"`` for the valid names that `name` may stand for, or an empty string.

    Tried in this order: keys whose last part is the name, names that begin with it, names spelt alike, names that have
    all its words. A name that is valid as it stands is never suggested.

    Parameters
    ----------
    name : str
        What was given.
    valid : iterable of str
        What could have stood there.
    elsewhere : iterable of str
        Dotted keys of other places; one is suggested where its last part is the name, or where `valid` has nothing.
    hardware : bool
        The names are pieces of hardware: none is suggested whose number differs from the one given.

    Examples
    --------
    >>> nearest("one-pear", ["one-pair", "cache-rate"])
    "; did you mean 'one-pair'?"
    >>> nearest("decode_radix", ["page_size", "disaggregation_decode_enable_radix_cache"])
    "; did you mean 'disaggregation_decode_enable_radix_cache'?"
    >>> nearest("gamma", ["seed"], elsewhere=["crossover.gamma", "routing.gamma", "crossover.turns"])
    "; did you mean 'crossover.gamma' or 'routing.gamma'?"
    >>> nearest("H100", ["H100-SXM", "H200"], hardware=True), nearest("H101", ["H100-SXM", "H200"], hardware=True)
    ("; did you mean 'H100-SXM'?", '')
    >>> nearest("zzz", ["one-pair"])
    ''
    """
    names, others = (
        [n for n in dict.fromkeys(each) if n != name and not (hardware and _other_hardware(name, n))]
        for each in (valid, elsewhere)
    )
    found = _with_last_part(name, [*names, *others]) or _alike(name, names) or _alike(name, others)
    return f"; did you mean {' or '.join(repr(each) for each in found)}?" if found else ""


MOST_SUGGESTED = 4
"""Suggestions in one line; of more names that fit alike, only those spelt most alike are shown."""


def misspelt(name: str, present: Iterable[str], *, known: Iterable[str] = ()) -> str:
    """Return ``"; did you mean 'x'?"`` for a name that is missing and seems to be there in another spelling.

    A name that is there and has a meaning of its own (`known`) is no misspelling, however alike.

    >>> misspelt("ContextTokens", ["ContextToken"]), misspelt("input_length", ["output_length"])
    ("; did you mean 'ContextToken'?", '')
    """
    avoided = {name, *known}
    plain = _plain(name)
    found = [each for each in present if each not in avoided and _same_but_for_spelling(plain, _plain(each))]
    return f"; did you mean {found[0]!r}?" if found else ""


def _same_but_for_spelling(first: str, second: str) -> bool:
    short, long = sorted((first, second), key=len)
    if short and long.startswith(short) and len(long) <= len(short) + len("ms"):
        return True
    return difflib.SequenceMatcher(None, first, second).ratio() >= SAME_WORD_RATIO


SAME_WORD_RATIO = 0.9
"""Share of letters that two spellings of one column have in common (difflib); input_length and output_length: 0.87."""


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _with_last_part(name: str, names: list[str]) -> list[str]:
    """Return the dotted keys whose last part is the name's."""
    last = _last_part(name).lower()
    found = [each for each in names if "." in each and _last_part(each).lower() == last]
    return found if len(found) <= MOST_SUGGESTED else []


def _alike(name: str, names: list[str]) -> list[str]:
    lower = name.lower()
    same = [n for n in names if n.lower() == lower]
    if same:
        return same
    begun = [n for n in names if len(name) > 1 and (n.lower().startswith(lower) or _last_part(n).lower() == lower)]
    if 0 < len(begun) <= MOST_SUGGESTED:
        return begun
    spelt = difflib.get_close_matches(name, names, n=1)
    if spelt:
        return spelt
    by_last = {n: _last_part(n) for n in names if "." in n}
    last = difflib.get_close_matches(_last_part(name), list(by_last.values()), n=1)
    if last:
        return [n for n, part in by_last.items() if part == last[0]][:MOST_SUGGESTED]
    words = _words(name)
    return sorted((n for n in names if words and words <= _words(n)), key=len)[:1]


def _last_part(key: str) -> str:
    return key.rpartition(".")[2]


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))


def _other_hardware(given: str, candidate: str) -> bool:
    """Return whether a candidate lacks a number of the name given: H100 is no slip for H200, nor 20g for 200g.

    A letter after a product's number makes another product (L40S is no L40), after a plain number it is a unit (100g).
    A dotted number is a version, which may differ.
    """

    def found(part: str, other: str) -> bool:
        beyond = r"(?!\d|[a-z]+$)" if part[0].isalpha() else r"(?!\d)"
        return re.match(re.escape(part) + beyond, other) is not None

    theirs = _numbered(candidate)
    return not all(any(found(part, other) for other in theirs) for part in _numbered(given))


def _numbered(name: str) -> list[str]:
    parts = re.split(r"[^a-z0-9.]+", name.lower())
    return [p for p in parts if re.search(r"\d", p) and not re.fullmatch(r"\d+(\.\d+)+", p)]


HARDWARE = ("GPU", "link", "profile")
"""Kinds of names that stand for a piece of hardware."""


def unknown(kind: str, name: str, valid: Iterable[str], *, hint: str = "") -> UnknownNameError:
    """Build the error for a name that does not exist: it lists the valid ones and the nearest.

    >>> str(unknown("policy", "always-q", ["always-p", "always-d"]))
    "unknown policy 'always-q' (valid: always-d, always-p); did you mean 'always-p'?"
    """
    names = sorted(valid)
    listed = ", ".join(names) if names else "none installed"
    tail = f" {hint}" if hint else ""
    meant = nearest(name, names, hardware=kind in HARDWARE)
    return UnknownNameError(f"unknown {kind} '{name}' (valid: {listed}){meant}{tail}")
