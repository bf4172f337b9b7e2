"""Which requests of a trace are turns of one conversation, told by the blocks of their prompts.

A request that starts with all whole blocks of an earlier request's prompt goes on with that conversation: its user
sends the earlier prompt again, with the answer and something new behind it. Several requests may go on from one prompt
(a user edits a message, or asks again); all of them are turns of its conversation. Of several earlier prompts the
longest counts.

A prompt that many others go on from in different ways is no conversation but what they share: a system prompt, a tool's
description, a document. Such a run is told by how many different blocks follow it in the file::

    a run of blocks is a shared prompt  iff  more than MOST_CONTINUATIONS different blocks follow it

In the shipped slice of the Mooncake conversation trace 781 blocks follow the system prompt of one block, and at most 3
any run with which a conversation goes on.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

MOST_CONTINUATIONS = 8
"""Most different blocks that may follow a prompt with which a conversation goes on; see the module [blocks]."""


def first_prompts(prompts: Iterable[tuple[Sequence[int], int]]) -> list[int]:
    """Return for each prompt the position of the first prompt of its conversation.

    Parameters
    ----------
    prompts
        In order of arrival: the ids of a prompt's blocks (none where they are not known), and how many of them are
        whole.

    Examples
    --------
    >>> first_prompts([((1, 2), 1), ((7,), 1), ((1, 3, 4), 2), ((1, 3, 5), 3)])
    [0, 1, 0, 0]
    """
    nodes: dict[tuple[int, int], int] = {}  # a run of blocks, by the run before its last block and that block
    following = [0]  # different blocks that follow each run; run 0 is the empty one
    paths: list[tuple[array[int], int]] = []
    for ids, whole in prompts:
        node, path = 0, array("q")
        for block in ids:
            run = nodes.get((node, block))
            if run is None:
                run = nodes[node, block] = len(following)
                following.append(0)
                following[node] += 1
            node = run
            path.append(node)
        paths.append((path, whole))
    conversation: dict[int, int] = {}  # by the run that is all of an earlier prompt
    found: list[int] = []
    for number, (path, whole) in enumerate(paths):
        earlier = (conversation[run] for run in reversed(path) if run in conversation)
        first = next(earlier, number)
        found.append(first)
        if path[:whole] and following[path[whole - 1]] <= MOST_CONTINUATIONS:
            conversation[path[whole - 1]] = first
    return found
