"""What a measurement depends on of SGLang's arguments, of the environment, and of the packages that it runs on.

Source: SGLang 0.5.17 server_args.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from ppdsim.engines.kept import Kept

ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "model": ("load_format", "context_length", "model_impl", "skip_tokenizer_init", "is_embedding"),
    "numbers": ("dtype", "kv_cache_dtype", "quantization", "torchao_config", "enable_fp32_lm_head"),
    "memory": (
        "mem_fraction_static", "max_total_tokens", "page_size", "cpu_offload_gb", "swa_full_tokens_ratio",
        "disable_radix_cache", "disable_chunked_prefix_cache", "radix_eviction_policy", "retraction_policy",
        "offload_mode", "enable_lmcache", "enable_hisparse", "enable_unified_memory", "uses_mamba_radix_cache",
         "enable_hierarchical_cache", "hicache_ratio", "hicache_size",
        "hicache_write_policy", "hicache_io_backend", "hicache_mem_layout", "hicache_storage_backend",
    ),
    "scheduling": (
        "max_running_requests", "max_queued_requests", "chunked_prefill_size", "max_prefill_tokens",
        "schedule_policy", "schedule_conservativeness", "enable_mixed_chunk", "enable_dynamic_chunking",
        "disable_overlap_schedule", "num_continuous_decode_steps", "scheduler_recv_interval", "stream_interval",
        "stream_output", "incremental_streaming_output", "sleep_on_idle", "enable_priority_scheduling",
        "prefill_max_requests", "tokenizer_worker_num", "detokenizer_worker_num", "enable_prefill_delayer",
        "optimistic_prefill_attempts", "enable_pdmux",
    ),
    "parallel": (
        "tp_size", "pp_size", "dp_size", "ep_size", "nnodes", "attn_cp_size", "dcp_size", "dwdp_size", "moe_dp_size",
        "enable_prefill_cp", "pp_max_micro_batch_size", "load_balance_method",
        "enable_dp_attention", "enable_dp_lm_head", "moe_a2a_backend", "moe_runner_backend", "deepep_mode",
        "enable_eplb", "disable_custom_all_reduce", "enable_nccl_nvls", "enable_symm_mem", "enable_mscclpp",
        "enable_flashinfer_allreduce_fusion", "enable_two_batch_overlap", "enable_single_batch_overlap",
    ),
    "kernels": (
        "device", "attention_backend", "prefill_attention_backend", "decode_attention_backend", "sampling_backend",
        "grammar_backend", "fp8_gemm_runner_backend", "fp4_gemm_runner_backend", "bf16_gemm_backend",
        "triton_attention_num_kv_splits", "flashinfer_mla_disable_ragged", "enable_deterministic_inference",
        "disable_cuda_graph", "disable_cuda_graph_padding", "cuda_graph_max_bs", "enable_profile_cuda_graph",
        "enable_piecewise_cuda_graph",
        "disable_piecewise_cuda_graph", "disable_decode_cuda_graph", "disable_prefill_cuda_graph",
        "enable_torch_compile", "torch_compile_max_bs", "enable_memory_saver",
    ),
    "speculation": (
        "speculative_algorithm", "speculative_num_steps", "speculative_eagle_topk", "speculative_num_draft_tokens",
        "speculative_attention_mode",
    ),
    "observation": (
        "enable_metrics", "enable_metrics_for_all_schedulers", "enable_request_time_stats_logging",
        "decode_log_interval", "enable_cache_report", "enable_trace",
    ),
    "disaggregation": (
        "disaggregation_mode", "disaggregation_transfer_backend", "disaggregation_decode_enable_radix_cache",
        "disaggregation_decode_enable_offload_kvcache", "disaggregation_decode_polling_interval",
        "disaggregation_decode_extra_slots", "disaggregation_decode_tp", "disaggregation_decode_dp",
        "disaggregation_prefill_pp", "num_reserved_decode_tokens",
    ),
}  # fmt: skip
"""Names of arguments by what they decide."""
VARIABLES = frozenset(
    {
        "CUDA_VISIBLE_DEVICES",
        # Mooncake's transfer engine.
        "MC_FORCE_TCP", "MC_TCP_ENABLE_CONNECTION_POOL", "MC_INTRANODE_NVLINK", "MC_FORCE_MNNVL", "MC_FORCE_HCA",
        "MC_NUM_CQ_PER_CTX", "MC_NUM_COMP_CHANNELS_PER_CTX", "MC_NUM_QP_PER_EP", "MC_IB_PORT", "MC_IB_TC",
        "MC_GID_INDEX", "MC_MAX_CQE_PER_CTX", "MC_MAX_EP_PER_CTX", "MC_MAX_SGE", "MC_MAX_WR", "MC_MAX_INLINE", "MC_MTU",
        "MC_WORKERS_PER_CTX", "MC_SLICE_SIZE", "MC_RETRY_CNT", "MC_FRAGMENT_RATIO", "MC_ENABLE_DEST_DEVICE_AFFINITY",
        # SGLang.
        "SGLANG_MOONCAKE_CUSTOM_MEM_POOL", "SGLANG_DISAGGREGATION_THREAD_POOL_SIZE", "SGLANG_DISAGGREGATION_QUEUE_SIZE",
        "SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT", "SGLANG_DISAGGREGATION_WAITING_TIMEOUT",
        "SGLANG_INIT_NEW_TOKEN_RATIO", "SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR", "SGLANG_NEW_TOKEN_RATIO_DECAY_STEPS",
        "SGLANG_RETRACT_DECODE_STEPS", "SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION", "SGLANG_ENABLE_JIT_DEEPGEMM",
        "SGLANG_SET_CPU_AFFINITY", "SGLANG_SCHEDULER_DECREASE_PREFILL_IDLE",
    }
)  # fmt: skip
"""Environment variables that are kept."""
MOONCAKE = ("mooncake-transfer-engine", "mooncake-transfer-engine-cuda13", "mooncake-transfer-engine-non-cuda")
"""What mooncake may be installed from."""
LIBRARIES = (
    "torch",
    "sglang",
    "sglang-kernel",
    "sgl-kernel",
    "flashinfer-python",
    "transformers",
    *MOONCAKE,
    "sglang-router",
    "aiohttp",
)
"""Packages whose versions a profile depends on."""
KEPT = Kept(
    arguments=frozenset(name for group in ARGUMENTS.values() for name in group),
    variables=VARIABLES,
    libraries=LIBRARIES,
)
