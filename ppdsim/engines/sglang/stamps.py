"""SGLang's names of its own times of a request (``meta_info`` with --enable-metrics, 0.5.17), and ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STAMPS: Mapping[str, str] = {
    "request_received_ts": "server_received_unix_s",
    "api_server_dispatch_finish_ts": "server_dispatched_s",
    "forward_entry_time": "server_forward_entry_s",
    "prefill_finished_time": "server_prefill_finished_s",
    "response_sent_to_client_ts": "server_first_response_s",
    "request_finished_ts": "server_finished_s",
    "queue_time": "server_queue_s",
    "e2e_latency": "server_e2e_s",
    "decode_throughput": "server_decode_tokens_per_s",
}


def stamps(meta: Mapping[str, Any]) -> dict[str, float]:
    """Return the times that ``meta_info`` has, as `Generation.server` names them.

    >>> stamps({"queue_time": 0.5, "e2e_latency": None, "id": "a"})
    {'server_queue_s': 0.5}
    """
    return {ours: meta[theirs] for theirs, ours in STAMPS.items() if meta.get(theirs) is not None}
