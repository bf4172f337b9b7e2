"""What a server says of a request (``meta_info``) and of itself (``/server_info``), under SGLang's names.

Wall-clock times are seconds since the epoch. A clock jump moves every time after the request was queued, as when the
machine's clock is set while it runs. Source: SGLang 0.5.17 tokenizer_manager.py, observability/req_time_stats.py,
http_server.py.
"""

from __future__ import annotations

from typing import Any

from ppdsim.engines.sglang.standin.core import AbstractCore
from ppdsim.engines.sglang.standin.request import Finish, Request
from ppdsim.profile import Profile

ENGINE_VERSION = "0.5.17"
"""The SGLang release whose answers are imitated."""


def meta_info(
    request: Request, core: AbstractCore, *, metrics: bool, wall_offset_s: float, scale: float
) -> dict[str, Any]:
    """Return ``meta_info`` of what a client sees of a request now.

    `wall_offset_s` is the wall-clock time at which the engine's clock was 0 [s], `scale` the seconds of the wall clock
    for one of the engine's.
    """
    ending = request.visible_ending
    meta: dict[str, Any] = {
        "id": request.rid,
        "finish_reason": None,
        "prompt_tokens": request.prompt_tokens,
        "weight_version": "default",
        "num_retractions": request.retractions,
    }
    if ending is not None and ending.finish is Finish.LENGTH:
        meta["finish_reason"] = {"type": "length", "length": request.output_tokens}
    elif ending is not None:
        meta["finish_reason"] = {
            "type": "abort",
            "message": ending.message,
            "status_code": ending.status,
            "err_type": None,
        }
    jump_s = core.clock_jumps.get(request.rid, 0.0)

    def wall_s(time_s: float | None, jumped: bool = True) -> float | None:
        return None if time_s is None else wall_offset_s + time_s * scale + (jump_s if jumped else 0.0)

    if metrics:
        times = {
            "forward_entry_time": wall_s(request.forward_s),
            "prefill_finished_time": wall_s(request.prefilled_s),
        }
        meta.update({name: time for name, time in times.items() if time is not None})
        waited_s = (request.forward_s or request.received_s) - (request.queued_s or request.received_s)
        meta["queue_time"] = max(waited_s, 0.0) * scale
    meta.update(
        reasoning_tokens=0,
        completion_tokens=request.visible,
        cached_tokens=request.cached_tokens,
        cached_tokens_details={"device": request.cached_tokens, "host": 0} if request.cached_tokens else None,
        dp_rank=None,
    )
    if metrics and request.visible == 1:
        # Sent with the first event, when it has just been written, and again with the last.
        meta["response_sent_to_client_ts"] = wall_s(request.first_s)
    if ending is not None and request.finished_s is not None:
        meta["e2e_latency"] = (request.finished_s - request.received_s) * scale + jump_s
        if metrics:
            meta["request_received_ts"] = wall_s(request.received_s, jumped=False)
            meta["api_server_dispatch_finish_ts"] = wall_s(request.queued_s, jumped=False)
            meta["response_sent_to_client_ts"] = wall_s(request.first_s)
            meta["request_finished_ts"] = wall_s(request.finished_s)
            decode_s = (request.finished_s - (request.first_s or request.finished_s)) * scale
            if decode_s > 0.0 and request.visible > 1:
                meta["decode_throughput"] = (request.visible - 1) / decode_s
    return meta


def server_info(core: AbstractCore, profile: Profile, flags: dict[str, Any]) -> dict[str, Any]:
    """Return ``/server_info``: resolved flags, pool, version."""
    return {
        **flags,
        "served_model_name": flags.get("served_model_name") or profile.model.name,
        "page_size": core.settings.page_tokens,
        "chunked_prefill_size": core.settings.chunk_tokens,
        "max_running_requests": core.settings.max_running_requests,
        "context_length": core.settings.context_tokens,
        # Also while the fault `small-pool` is on: an engine that lies about its memory is what that fault is.
        "max_total_num_tokens": core.settings.kv_pool_tokens,
        "max_req_input_len": min(core.settings.context_tokens, core.settings.kv_pool_tokens) - 6,
        "status": "ready",
        "version": ENGINE_VERSION,
        "internal_states": [{"last_gen_throughput": 0.0}],
        "kv_events": None,
    }


def model_info(flags: dict[str, Any]) -> dict[str, Any]:
    """Return ``/model_info``; without a model folder no path, or the router would ask a model hub for a tokenizer."""
    return {
        "model_path": flags.get("model_path"),
        "tokenizer_path": flags.get("model_path"),
        "is_generation": True,
        "preferred_sampling_params": None,
        "weight_version": "default",
        "has_image_understanding": False,
        "has_audio_understanding": False,
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
    }
