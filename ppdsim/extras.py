"""Libraries that only some commands need, and the extra of ppdsim that installs each.

A command asks before it begins, so that nothing is half done for the lack of a library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from ppdsim.errors import EnvironmentProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """How a library is called by people, and what goes into the brackets of ``pip install 'ppdsim[...]'``."""

    package: str
    extra: str


EXTRAS: Mapping[str, Extra] = {
    "aiohttp": Extra(package="aiohttp", extra="live"),
    "sglang_router": Extra(package="sglang-router", extra="live"),
    "sglang": Extra(package="SGLang", extra="live,engine"),
    "mooncake": Extra(package="mooncake's transfer engine", extra="transfer-cpu"),
    "distributed": Extra(package="dask.distributed", extra="cluster"),
    "pandas": Extra(package="pandas", extra="parquet"),
    "pyarrow": Extra(package="pyarrow", extra="parquet"),
}
"""By the module that is imported."""


def require(module: str, *, by: str, instead: str = "") -> None:
    """Refuse to begin what needs a library that is not installed.

    Parameters
    ----------
    module : str
        A module of `EXTRAS`; it is looked for and not imported.
    by : str
        What needs it: a command or an option.
    instead : str
        What to do without it.

    Raises
    ------
    EnvironmentProblem
        Naming the library, who needs it, and the line that installs it.
    """
    if find_spec(module) is None:
        raise missing(module, by=by, instead=instead)


def missing(module: str, *, by: str, instead: str = "") -> EnvironmentProblem:
    """Return the error for a library that is not installed.

    >>> print(missing("pyarrow", by="--parquet"))
    pyarrow is not installed, and --parquet needs it: pip install 'ppdsim[parquet]'
    """
    found = EXTRAS[module]
    tail = f", or {instead}" if instead else ""
    return EnvironmentProblem(
        f"{found.package} is not installed, and {by} needs it: pip install 'ppdsim[{found.extra}]'{tail}"
    )
