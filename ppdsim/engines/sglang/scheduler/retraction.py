"""Which stream SGLang retracts when the coming step does not fit, on any server.

The fewest generated tokens first, then the longest prompt. The engine aborts a stream that does not fit alone; here it
is retracted like any other. Source: SGLang 0.5.17, managers/schedule_batch.py retract_decode.
"""

from __future__ import annotations

from ppdsim.des.node_memory import AbstractNodeMemory


def fewest_tokens(node: AbstractNodeMemory) -> tuple[int, int]:
    """Return (turn, KV tokens) of the stream that is retracted next; of equals the latest."""
    prompt = node.turns.prompt
    return min(node.running(), key=lambda item: (item[1] - prompt[item[0]], -prompt[item[0]], -item[0]))
