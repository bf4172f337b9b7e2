"""Where turns without an answer were lost."""

from __future__ import annotations

import numpy as np
import pytest

from ppdsim.capacity.binding import binding_of
from ppdsim.metrics import SloLimits
from ppdsim.types import NodeRole

ROLES = (NodeRole.P, NodeRole.D, NodeRole.D)


@pytest.mark.parametrize(
    ("statuses", "place", "node"),
    [
        (["ok", "timed_out", "timed_out", "rejected"], "timed-out hand-offs", 2),
        (["ok", "rejected", "rejected", "rejected"], "KV pool", None),
        (["ok", "unfinished", "rejected", "unfinished"], "queues", None),
    ],
)
def test_turns_without_an_answer(statuses, place, node):
    turns = {"status": np.array(statuses), "decode_node": np.array([1, 2, 2, 1])}
    found = binding_of(turns, np.ones(4, dtype=np.bool_), SloLimits(), ROLES)
    assert found is not None
    assert (found.limit, found.share, found.place, found.node) == ("unanswered", 0.75, place, node)
