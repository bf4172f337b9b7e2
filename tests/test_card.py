"""The cards in words of the profiles, against the committed ones; to renew one, look at the difference and copy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ppdsim import library, profile
from ppdsim.card import card_of, to_text

PROFILES = sorted(path.stem for path in (Path(__file__).parent.parent / "calibration/profiles").glob("*.json"))


@pytest.mark.parametrize("name", PROFILES)
def test_the_committed_card_is_what_show_prints(name, repository, tmp_path):
    text = to_text(card_of(profile.load(repository / "calibration/profiles" / f"{name}.json"))) + "\n"
    written = tmp_path / "card.txt"
    written.write_text(text)
    committed = repository / "calibration/cards" / f"{name}.txt"
    assert text == committed.read_text(), f"the card has changed; compare {written} with {committed}"


def test_a_90th_percentile_of_few_cells_is_in_brackets():
    card = card_of(profile.load(library.find("profile", "h200x2_llama-3.1-8b_sglang-0.5.17")))
    first, *rest = card.cards
    assert "in brackets" not in to_text(card)
    for cells, marked in ((9, True), (10, False)):
        text = to_text(replace(card, cards=(replace(first, cells=cells), *rest)))
        assert ("(4.9)" in text) == ("(3.4)" in text) == ("in brackets" in text) == marked
