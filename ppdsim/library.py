"""Find a profile, a calibration plan or a scenario by name or by path.

A name is looked up in this order; the first hit wins:

1. ``$PPDSIM_LIBRARY`` if it is set, otherwise the user's data folder (``platformdirs``);
2. the data packaged with a wheel, ``ppdsim/_data``;
3. where there is no ``_data``, the checkout that an editable install runs from (``calibration/`` and ``scenarios/``
   beside the package).

Folders 1 and 2 hold ``profiles/``, ``plans/`` and ``scenarios/``. Anything with a folder in it, or with the ending of
its kind, is a path and is not looked up. A profile may also be named in short (``h200``): ``recommended.json`` says
which profile that is, and what each shipped profile is for. An installed profile of just that name goes first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import platformdirs

from ppdsim.errors import UnknownNameError, unknown
from ppdsim.reading import read_json


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """Where files of one kind lie and how they end."""

    folder: str
    checkout_folder: str
    ending: str
    listing: str


KINDS = {
    "profile": _Kind(
        folder="profiles", checkout_folder="calibration/profiles", ending=".json", listing="ppdsim profiles"
    ),
    "plan": _Kind(
        folder="plans", checkout_folder="calibration/plans", ending=".yaml", listing="ppdsim calibrate --help"
    ),
    "scenario": _Kind(folder="scenarios", checkout_folder="scenarios", ending=".yaml", listing="ppdsim scenarios"),
}


def user_folder() -> Path:
    """Return the folder that the user's own files go to: ``$PPDSIM_LIBRARY`` or the platform's data folder."""
    return Path(os.environ.get("PPDSIM_LIBRARY") or platformdirs.user_data_dir("ppdsim", appauthor=False))


def installed(kind: str) -> dict[str, Path]:
    """Return every installed file of a kind (``profile``, ``plan`` or ``scenario``) by its name, sorted by name."""
    entry = KINDS[kind]
    package = Path(str(resources.files("ppdsim")))
    packaged = package / "_data"
    shipped = packaged / entry.folder if packaged.is_dir() else package.parent / entry.checkout_folder
    folders = (shipped, user_folder() / entry.folder)
    found = {path.stem: path for folder in folders for path in folder.glob(f"*{entry.ending}")}
    return dict(sorted(found.items()))


def shipped(file: str) -> Path:
    """Return a data file that the program itself reads, such as ``hardware.yaml``: packaged, or in the checkout."""
    package = Path(str(resources.files("ppdsim")))
    packaged = package / "_data"
    return packaged / file if packaged.is_dir() else package.parent / "calibration" / file


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommended:
    """Which profile to take: full names by short name, and what each shipped profile is for, by full name."""

    short_names: Mapping[str, str]
    advice: Mapping[str, str]


def recommended() -> Recommended:
    """Return what ``recommended.json`` says."""
    content = read_json(shipped("recommended.json"))
    return Recommended(short_names=content["short_names"], advice=content["advice"])


def names(kind: str) -> list[str]:
    """Return every name that `find` takes: the short ones first."""
    short = sorted(recommended().short_names) if kind == "profile" else []
    return list(dict.fromkeys([*short, *installed(kind)]))


def find(kind: str, name: str) -> Path:
    """Return the file of a kind that `name` names, in short or in full.

    Raises
    ------
    UnknownNameError
        If there is no such file; the message lists the installed names and the nearest one.
    """
    entry = KINDS[kind]
    path = Path(name)
    if path.name != name or name.endswith(entry.ending):
        if path.is_file():
            return path
        raise UnknownNameError(f"{kind} file '{name}' does not exist; run '{entry.listing}' to list the installed ones")
    files = installed(kind)
    full = recommended().short_names.get(name, name) if kind == "profile" and name not in files else name
    if full not in files:
        raise unknown(kind, name, names(kind), hint=f"(list them with '{entry.listing}')")
    return files[full]
