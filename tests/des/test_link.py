"""KV on the wire: one FIFO a pair, what is sent early, what D already holds."""

from __future__ import annotations

import pytest
from des.costs import handoff, talk

from ppdsim.des.batching import Piece
from ppdsim.des.link import Links
from ppdsim.des.turns import Turns
from ppdsim.types import Arm

TOKEN_S = 2.0**-10
CURVE = handoff(wire_s_per_token=TOKEN_S, fresh_wire_s_per_token=0.0, early_share=0.75)


def links(arm: Arm = Arm.P_FULL, *, cached: int = 0, turns: int = 2) -> tuple[Links, Turns]:
    rows = Turns([talk(i, float(i), (4096, 1)) for i in range(turns)], None)
    for turn in range(turns):
        rows.decode_node[turn] = 1
        rows.cached[turn] = cached

    def delivered(turn: int, time: float) -> None:
        rows.kv_done[turn] = time

    return Links(rows, [CURVE] * 3, arm, 0, delivered), rows


def test_chunks_leave_as_they_end_and_wait_for_the_wire():
    link, rows = links()
    first = Piece(0, 0, 1024, first=True, last=False)
    second = Piece(0, 1024, 512, first=False, last=True)
    link.start(first, 0.0)
    link.end(first, 5.0)
    # The wire is still busy with the first chunk when the second ends.
    link.end(second, 5.25)
    assert rows.kv_done[0] == 6.5
    assert rows.wire[0] == 1.5


def test_turns_to_one_node_queue_and_to_another_do_not():
    link, rows = links(turns=3)
    rows.decode_node[2] = 2
    for turn in (0, 1, 2):
        link.end(Piece(turn, 0, 1024, first=True, last=True), 1.0)
    assert rows.kv_done.tolist() == [2.0, 3.0, 2.0]


def test_most_of_the_cached_prefix_leaves_when_the_forward_starts():
    link, rows = links()
    piece = Piece(0, 1024, 256, first=True, last=True)
    link.start(piece, 2.0)
    # 768 tokens early: until 2.75. The other 256 and the 256 new ones after the forward.
    assert rows.wire[0] == 0.75
    link.end(piece, 2.5)
    assert rows.kv_done[0] == 2.75 + 0.5
    assert rows.wire[0] == 1.25


@pytest.mark.parametrize(
    ("before", "held", "sent"),
    [
        (1024, 1024, 256),  # D holds what P has cached: the new tokens
        (1024, 512, 768),  # P has more: the rest of its prefix too
        (1024, 1152, 128),  # D has more, namely the answer: P computes it, and it is not sent
        (0, 1152, 128),  # P is cold and computes everything
    ],
)
def test_a_delta_sends_what_d_lacks(before, held, sent):
    link, rows = links(Arm.P_DELTA, cached=held)
    piece = Piece(0, before, 1280 - before, first=True, last=True)
    link.start(piece, 0.0)
    link.end(piece, 10.0)
    assert rows.wire[0] == sent * TOKEN_S
