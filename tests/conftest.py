"""What all tests share: tools that a machine may lack, and the rule that CI lacks none of them.

``PPDSIM_REQUIRE_ALL=1`` turns every skipped test into a failure, so a check that quietly stops running is noticed.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout that the tests belong to."""
    return REPOSITORY


@pytest.fixture(scope="session", autouse=True)
def _no_library_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the profiles and scenarios of whoever runs the tests out of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPDSIM_LIBRARY", str(tmp_path_factory.mktemp("library")))
        yield


@pytest.fixture(scope="session")
def require() -> Callable[..., str]:
    """Return ``require(name, *alternatives)``, which finds the first of several tools or skips the test.

    A name is a program on the PATH, whose path is returned, or ``python:module``, which is imported and returned.
    """

    def find(*names: str) -> str:
        for name in names:
            if name.startswith("python:"):
                try:
                    return importlib.import_module(name.removeprefix("python:")).__name__
                except ImportError:
                    continue
            path = shutil.which(name)
            if path:
                return path
        pytest.skip(f"this machine lacks {' or '.join(names)}")

    return find


def _skips_are_failures() -> bool:
    return os.environ.get("PPDSIM_REQUIRE_ALL") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Report a skipped test as failed under PPDSIM_REQUIRE_ALL=1."""
    report = yield
    if report.skipped and _skips_are_failures() and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and PPDSIM_REQUIRE_ALL=1 allows no skip: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """Report a skipped module as failed under PPDSIM_REQUIRE_ALL=1."""
    report = yield
    if report.skipped and _skips_are_failures():
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped, and PPDSIM_REQUIRE_ALL=1 allows no skip: {report.longrepr}"
    return report
