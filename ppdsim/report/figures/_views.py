"""A view is what the page shows at a time: one total prompt length and one previous answer.

The append on D costs the same whatever P lacks, so an answer may hold its curve once a prompt length and every view of
that length shares it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ppdsim.answers import ArmCurve, CrossoverAnswer
from ppdsim.report.figures._style import is_append


class View(NamedTuple):
    """One total prompt length S and one previous answer o [tokens]."""

    total_tokens: int
    previous_output_tokens: int

    @property
    def key(self) -> str:
        """Name of the view inside the page."""
        return f"{self.total_tokens}|{self.previous_output_tokens}"


def views_of(answer: CrossoverAnswer) -> list[View]:
    """Return the views for which some P arm has a curve, by prompt length, then previous answer.

    A prompt length at which every arm is overloaded throughout has none: nothing of it is carried.
    """
    carried = {c.total_tokens for c in answer.curves if any(math.isfinite(j) for j in (*c.j_s, *c.simulated_j_s))}
    handoffs = [c for c in answer.curves if not is_append(c.arm) and c.total_tokens in carried]
    return sorted({View(c.total_tokens, c.previous_output_tokens) for c in handoffs})


def append_of(answer: CrossoverAnswer, view: View) -> ArmCurve | None:
    """Return the append's curve of a view: its own, or else the one of the same prompt length."""
    same = [c for c in answer.curves if is_append(c.arm) and c.total_tokens == view.total_tokens]
    exact = [c for c in same if c.previous_output_tokens == view.previous_output_tokens]
    return next(iter([*exact, *same]), None)


def handoffs_of(answer: CrossoverAnswer, view: View) -> list[ArmCurve]:
    """Return the P arms' curves of a view, in the answer's order."""
    return [c for c in answer.curves if not is_append(c.arm) and View(c.total_tokens, c.previous_output_tokens) == view]


def choice(name: str, label: str, options: Sequence[tuple[object, str]], value: object) -> dict[str, object]:
    """Return a keyword of a figure as the page offers it: its values with their texts, and the one that is drawn."""
    return {"name": name, "label": label, "options": [list(option) for option in options], "value": value}


def view_choices(views: Sequence[View], shown: View) -> list[dict[str, object]]:
    """Return the choices of prompt length and previous answer."""
    totals = sorted({v.total_tokens for v in views})
    previous = sorted({v.previous_output_tokens for v in views})
    return [
        choice("total_tokens", "prompt S [tokens]", [(t, f"{t:,}") for t in totals], shown.total_tokens),
        previous_choice(previous, shown.previous_output_tokens),
    ]


def previous_choice(previous: Sequence[int], shown: int) -> dict[str, object]:
    """Return the choice of the previous answer o, which D holds and P does not."""
    return choice(
        "previous_output_tokens", "previous answer o, not on P [tokens]", [(o, f"{o:,}") for o in previous], shown
    )


def view_of(answer: CrossoverAnswer, total_tokens: int | None, previous_output_tokens: int | None) -> View | None:
    """Return the view that is asked for, by default the middle prompt length after no answer; None without any."""
    views = views_of(answer)
    if not views:
        return None
    totals = sorted({v.total_tokens for v in views})
    total = totals[len(totals) // 2] if total_tokens is None else total_tokens
    previous = views[0].previous_output_tokens if previous_output_tokens is None else previous_output_tokens
    return View(total, previous)
