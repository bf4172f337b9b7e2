"""``ppdsim show``: a profile's card in words."""

from __future__ import annotations

from dataclasses import asdict

from ppdsim.cli.common import JsonOption, ProfileArgument, echo, print_json


def show(
    profile: ProfileArgument,
    json: JsonOption = False,
) -> None:
    """Print how a profile was measured, how good it is, and every number in it.

    Example: ppdsim show h200
    """
    from ppdsim import library
    from ppdsim import profile as profiles
    from ppdsim.card import card_of, to_text

    card = card_of(profiles.load(library.find("profile", profile)))
    if json:
        print_json(asdict(card))
    else:
        echo(to_text(card))
