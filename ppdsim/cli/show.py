"""``ppdsim show``: a profile's card in words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ppdsim.cli.common import JsonOption, print_json


def show(
    profile: Annotated[str, typer.Argument(help="Profile, by name ('ppdsim profiles' lists them) or path.")],
    json: JsonOption = False,
) -> None:
    """Print how a profile was measured, how good it is, and every number in it.

    Example: ppdsim show h200x2_llama-3.1-8b_sglang-0.5.17
    """
    from ppdsim import library
    from ppdsim import profile as profiles
    from ppdsim.card import card_of, to_text

    card = card_of(profiles.load(library.find("profile", profile)))
    if json:
        print_json(asdict(card))
    else:
        typer.echo(to_text(card))
