"""What a terminal obeys never reaches it: one function prints, and everything is printed through it."""

from __future__ import annotations

import ast
import json

import pytest

from ppdsim.cli.app import run
from ppdsim.cli.common import echo, echo_json, overwrite_status, print_status

PRINTERS = {
    "typer.echo", "typer.secho", "print", "rich.print", "sys.stdout.write", "sys.stderr.write",
    "sys.stdout.buffer.write", "sys.stderr.buffer.write", "sys.stdout.writelines",
}  # fmt: skip
HOSTILE = "a\x1b[2J\x9b1m\x07\u202e\x00\x7f\r"
SHOWN = r"a\x1b[2J\x9b1m\x07\u202e\x00\x7f\r"


def test_every_printer_shows_escapes(capsys):
    echo(HOSTILE + "\nb\tc")
    print_status(HOSTILE)
    overwrite_status(HOSTILE)
    printed = capsys.readouterr()
    assert printed.out == SHOWN + "\nb\tc\n"
    assert printed.err.startswith(SHOWN + "\n\r")
    assert printed.err.endswith(SHOWN)


def test_a_json_document_says_the_same_with_escapes(capsysbinary):
    document = {"a": HOSTILE + "é", "b": 1}
    echo_json(json.dumps(document, ensure_ascii=False).encode())
    printed = capsysbinary.readouterr().out
    assert json.loads(printed) == document
    assert printed.decode().isprintable()


def test_a_hostile_profile_shows_nothing_raw(tmp_path, repository, capsys):
    shipped = repository / "calibration/profiles/h200x2_llama-3.1-8b_sglang-0.5.17.json"
    content = json.loads(shipped.read_text())
    content["id"] = content["machine"] = HOSTILE
    path = tmp_path / "hostile.json"
    path.write_text(json.dumps(content))
    for arguments in (["show", str(path)], ["show", str(path), "--json"], ["show", str(tmp_path / HOSTILE[1:9])]):
        run(arguments)
        printed = capsys.readouterr()
        text = (printed.out + printed.err).replace("\n", "")
        assert text
        assert text.isprintable()


def test_nothing_else_prints(repository):
    found = []
    for file in sorted((repository / "ppdsim").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            name = ast.unparse(called) if isinstance(called, (ast.Attribute, ast.Name)) else ""
            if name in PRINTERS:
                found.append((file.relative_to(repository / "ppdsim").as_posix(), name))
    assert {name for name, _ in found} == {"cli/common.py", "__main__.py", "engines/sglang/standin/__main__.py"}


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_that_a_spreadsheet_would_compute_is_text(text):
    from ppdsim.printable import cell

    assert str(cell(text)).startswith("'")
    assert cell(-1.5) == -1.5
    assert cell("-1.5") == "-1.5"
