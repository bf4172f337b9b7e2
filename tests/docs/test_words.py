"""Words that users saw and did not understand stay out of all that they read, each with the word to write instead."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAIN = {
    r"mend(?:s|ed|ing)?": "fix",
    r"troubles?": "known issue",
    r"dearer|dearest": "more expensive",
    r"nobody (?:has )?measured": "unmeasured",
    r"for ever": "indefinitely",
    r"all but exactly": "almost exactly",
    r"what (?:it|the model|they) (?:does|do) not know": "Not modelled:",
    r"in several stretches": "the range in which an arm is cheaper",
    r"takes? from (?:the|its|D's) (?:streams|residents)": "the delay that an append adds to running streams",
    r"lose all of": "each stream is delayed by",
    r"what a running (?:one|step|launch) hides": "the part of a launch that overlaps the running step",
    r"door": "admission control",
    r"worth going on with": "Abort criterion: the backlog exceeds the work completed",
    r"made anew|makes (?:it|one) anew": "run again, written again",
    r"ways to know a prefix": "prefixes are identified",
    r"clouds?": "samples",
    r"anew": "again",
    r"(?:rides?|riding) along": "is in the same step (decode rows of a mixed step)",
    r"(?:held|holds?) against": "compared with",
}
"""Regular expression of whole words, and what the field says."""
TEXTS = ("docs/**/*.md", "*.md", "scenarios/**/*.yaml", "scenarios/**/*.md", "ppdsim/report/templates/*")
CODE = ("ppdsim/**/*.py", "benchmarks/**/*.py", "docs/*.py")
LINES = {pattern.replace(" ", r"\s+"): word for pattern, word in PLAIN.items()}
"""The same where a line may end between two words."""
WORDS = re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in LINES), re.IGNORECASE)
QUOTED = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
"""Names of code, which keep theirs; outputs that a page shows are checked where they are written."""


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of all that a file says to people: string literals of a module, every line of other files.

    Of the changelog only what is not released yet: what was said of a release stays as it was said.
    """
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.lineno, node.value
    elif path.name == "CHANGELOG.md":
        yield 1, re.split(r"^## \[\d", source, maxsplit=1, flags=re.MULTILINE)[0]
    else:
        yield 1, source


def found_in(path: Path) -> list[str]:
    """Return where a file has a word of the list, and what to write instead."""
    found = []
    for first, text in prose(path):
        blanked = QUOTED.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
        for match in WORDS.finditer(blanked):
            line = first + blanked.count("\n", 0, match.start())
            instead = next(word for pattern, word in LINES.items() if re.fullmatch(pattern, match[0], re.IGNORECASE))
            found.append(f"{path.relative_to(ROOT)}:{line}: '{' '.join(match[0].split())}', expected: {instead}")
    return found


def files() -> list[Path]:
    """Return every file that speaks to users."""
    return sorted({path for pattern in (*TEXTS, *CODE) for path in ROOT.glob(pattern) if path.is_file()})


def test_no_text_has_a_word_that_users_did_not_understand() -> None:
    checked = files()
    assert len(checked) > 400
    assert not [line for path in checked for line in found_in(path)]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.py", '"""What it does not know: clocks."""\n', ["What it does not know"]),
        ("a.py", 'x = f"{n} choices took the dearer arm"\n', ["dearer"]),
        ("a.py", "mend = 1  # trouble in a comment\n", []),
        (
            "a.md",
            "The command `mend` mends\nit for every user, what it\n  does not know included.",
            ["mends", "what it does not know"],
        ),
        ("CHANGELOG.md", "## [Unreleased]\n- trouble\n## [0.1.0]\n- dearer\n", ["trouble"]),
    ],
)
def test_a_word_is_found_where_people_read_it(tmp_path, monkeypatch, name, text, words) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / name
    path.write_text(text)
    assert [line.split("'")[1] for line in found_in(path)] == words
