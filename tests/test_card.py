"""The card in words of the shipped profile, against a golden file; to renew it, look at the difference and copy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ppdsim import library, profile
from ppdsim.card import card_of, to_text

GOLDEN = Path(__file__).parent / "golden" / "card.txt"


def test_the_card_reads_as_the_golden_one(tmp_path):
    text = to_text(card_of(profile.load(library.find("profile", "h200x2_llama-3.1-8b_sglang-0.5.17")))) + "\n"
    written = tmp_path / "card.txt"
    written.write_text(text)
    assert text == GOLDEN.read_text(), f"the card has changed; compare {written} with {GOLDEN}"


def test_a_90th_percentile_of_few_cells_is_in_brackets():
    card = card_of(profile.load(library.find("profile", "h200x2_llama-3.1-8b_sglang-0.5.17")))
    first, *rest = card.cards
    assert "in brackets" not in to_text(card)
    for cells, marked in ((9, True), (10, False)):
        text = to_text(replace(card, cards=(replace(first, cells=cells), *rest)))
        assert ("(5.2)" in text) == ("(3.4)" in text) == ("in brackets" in text) == marked
