"""Every output that the documentation shows is what the command prints now; nothing is shown without a word why."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("update_outputs", ROOT / "docs/update_outputs.py")
outputs = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(outputs)

PAGES = [page.relative_to(ROOT).as_posix() for page in outputs.pages()]
SHOWING = [page for page in PAGES if outputs.shows_output(ROOT / page)]
EXAMPLE = "before\n\n```console\n$ ppdsim scenarios\nold\n$ ppdsim show h300\n```\n\nafter\n"


def test_pages_with_outputs_are_found() -> None:
    assert {"docs/how-to/sweep.md", "docs/how-to/capacity.md", "docs/how-to/what-if.md"} <= set(SHOWING)


@pytest.mark.parametrize("page", SHOWING)
def test_a_page_shows_what_is_printed(page: str) -> None:
    shown = (ROOT / page).read_text(encoding="utf-8")
    with outputs.playing() as printed:
        now = outputs.renewed(shown, printed)
    assert shown.splitlines() == now.splitlines(), f"run: python docs/update_outputs.py {page}"


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_says_why_not(page: str) -> None:
    assert not list(outputs.unexplained((ROOT / page).read_text(encoding="utf-8")))


def test_what_is_printed_takes_the_place_of_what_was_shown() -> None:
    printed = {"ppdsim scenarios": "one\ntwo\n", "ppdsim show h300": "error: unknown\n"}
    assert outputs.renewed(EXAMPLE, printed.__getitem__) == (
        "before\n\n```console\n$ ppdsim scenarios\none\ntwo\n$ ppdsim show h300\nerror: unknown\n```\n\nafter\n"
    )


def test_a_command_is_run_in_an_empty_folder_and_an_error_is_shown(tmp_path: Path) -> None:
    with outputs.playing() as printed:
        assert not list(Path.cwd().iterdir())
        assert printed("ppdsim show h300").startswith("error: unknown profile 'h300'")
        assert printed("ppdsim --version").startswith("ppdsim ")
        with pytest.raises(SystemExit, match="only ppdsim is run"):
            printed("ls")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```text\nan output\n```\n", ["an output"]),
        ("```\nan output\n```\n", ["an output"]),
        ("says:\n\n    an output\n    more\n", ["    an output"]),
        ("<!-- not run: needs a GPU -->\n```text\nan output\n```\n", []),
        ("<!-- not run:  -->\n```text\nan output\n```\n", ["an output"]),
        ("<!-- not run: needs a GPU -->\n\n    an output\n", []),
        ("so\n\n    T(n) = n (p + h n),   h = b g / 2\n", []),
        ("```bash\nls\n```\n", []),
        ("- an item\n\n    of a list\n", []),
    ],
)
def test_a_block_that_may_be_an_output_is_found(text: str, found: list[str]) -> None:
    assert list(outputs.unexplained(text)) == found
