"""Which stream SGLang retracts when the coming step does not fit, on any server.

The fewest generated tokens first, then the longest prompt, of equals the last of the batch. Those that stay are in that
order from then on. The engine aborts a stream that does not fit alone; here it is retracted like any other. Source:
SGLang 0.5.17, managers/schedule_batch.py retract_decode, _get_decode_retraction_order.
"""

from __future__ import annotations

from ppdsim.des.node_memory import AbstractNodeMemory


def most_tokens_first(node: AbstractNodeMemory) -> list[tuple[int, int]]:
    """Return (turn, KV tokens) of the streams, the one that is retracted first at the end."""
    prompt = node.turns.prompt
    # The engine sorts in reverse, too, so that equals stay in the order of the batch.
    return sorted(node.running(), key=lambda item: (item[1] - prompt[item[0]], -prompt[item[0]]), reverse=True)
