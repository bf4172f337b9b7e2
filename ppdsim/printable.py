"""Text of others, made harmless where it is shown: in a terminal, and in a spreadsheet.

A profile's name, a row of a trace or a server's answer may hold what a terminal obeys (escape sequences, C1 controls,
changes of the writing direction) and what a spreadsheet computes (a cell that begins with ``=``, ``+``, ``-`` or
``@``). Shown text has the escape of each such character in its place; a cell of that kind begins with an apostrophe.

Not modelled: letters that look like others.
"""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet computes."""


def printable(text: str, *, keep: str = "") -> str:
    r"""Return a text with the escape of each character that is not printable, but for those in `keep`.

    >>> print(printable("a\x1b[2J\u202eb\n"), end="")
    a\x1b[2J\u202eb\n
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def shortened(value: object) -> str:
    """Return a value as an error quotes it, cut to 40 characters.

    >>> shortened("a" * 50)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."
    """
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def json_printable(document: bytes) -> bytes:
    r"""Return a JSON document that says the same, with escapes for characters that a terminal obeys.

    >>> json_printable('{"a": "\x7f\x9b\U000e0001é"}'.encode()).decode()
    '{"a": "\\u007f\\u009b\\udb40\\udc01é"}'
    """
    if document.isascii() and b"\x7f" not in document:
        return document
    text = document.decode()
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text).encode()


def cell(value: object) -> object:
    r"""Return a value for a CSV file: what is undefined is empty, true and false are in lower case.

    Text that a spreadsheet would compute or a terminal obey becomes plain text.

    >>> cell("=1+1"), cell("-5"), cell(-5), cell("a\x1b"), cell("-rm"), cell(float("nan")), cell(True)
    ("'=1+1", '-5', -5, 'a\\x1b', "'-rm", '', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value != value:
        return ""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if value.startswith(FORMULA) and not _is_number(value) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{int.from_bytes(units[at : at + 2], 'big'):04x}" for at in range(0, len(units), 2))
