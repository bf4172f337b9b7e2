"""How each parameter of a profile moves to another machine: one function a term, roofline physics only.

A share of a peak that the measured machine reached is kept, the peak and the work change::

    compute    s' = s * (work' / work) * (peak / peak')
    memory     s' = s * (bytes' / bytes) * (bandwidth / bandwidth')
    launch     s' = s * launches' / launches
    send       s' = s * layers' / layers
    sum        parts are taken out of the measured number first, moved each by its own law, and added again

A host's own work (front end, handshake, polling) is kept as it is. A term is exact when nothing changes: moving a
profile to its own machine gives it back. What the laws do not know stands as the error that the published tables show
for them (docs/explanation/derive.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ppdsim.cost.base import Quantity, maximum
from ppdsim.derive.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Shares of a limit that published tables show, needed to part a sum.

    Of the memory bandwidth where weights are read, of NVLink's where messages are large, and of a row's FLOPs at peak
    in how much longer a product takes for one more row while it reads its weights.
    """

    memory_share: float
    link_share: float
    row_share: float


Law: TypeAlias = Callable[[Machine, Machine, Quantity, Reached], Quantity]


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A parameter's law, and the kind of quantity whose measured transfer error widens it."""

    law: Law
    quantity: str


def kept(source: Machine, target: Machine, value: Quantity, reached: Reached) -> Quantity:  # noqa: ARG001
    """Return the value as it is: the host's work, or a shape that no machine changes."""
    return value


def launches(source: Machine, target: Machine, value: Quantity, reached: Reached) -> Quantity:  # noqa: ARG001
    """Scale the host's launches of an eager forward."""
    return value * (target.launches / source.launches)


def layers(source: Machine, target: Machine, value: Quantity, reached: Reached) -> Quantity:  # noqa: ARG001
    """Scale what is done once a layer."""
    return value * (target.shape.layers / source.shape.layers)


def attention(source: Machine, target: Machine, value: Quantity, reached: Reached) -> Quantity:  # noqa: ARG001
    """Scale attention by its FLOPs; it computes in bf16 whatever the weights are."""
    work = target.attention_flops_per_pair / source.attention_flops_per_pair
    return value * work * (source.gpu.bf16_flops_per_s / target.gpu.bf16_flops_per_s)


def kv_read(source: Machine, target: Machine, value: Quantity, reached: Reached) -> Quantity:  # noqa: ARG001
    """Scale the reading of KV by its bytes."""
    bandwidth = source.gpu.memory_bandwidth_bytes_per_s / target.gpu.memory_bandwidth_bytes_per_s
    return value * (target.kv_bytes_per_token / source.kv_bytes_per_token) * bandwidth


def matrices(source: Machine, target: Machine, value: Quantity, reached: Reached) -> Quantity:
    """Move a new token's work: element-wise kernels by bytes, matrices by FLOPs, all-reduces by bytes on the link."""
    product = maximum(value - _beside_matrices(source, reached), 0.0)
    work = target.matrix_flops_per_token / source.matrix_flops_per_token
    return product * work * (source.matrix_flops_per_s / target.matrix_flops_per_s) + _beside_matrices(target, reached)


def wave(source: Machine, target: Machine, value: Quantity, reached: Reached) -> Quantity:  # noqa: ARG001
    """Move the rows of attention that run at once: one tile a multiprocessor, shared by the query heads of one GPU."""
    tiles = target.gpu.multiprocessors / source.gpu.multiprocessors
    return value * tiles * (source.query_heads_per_gpu / target.query_heads_per_gpu)


def step_floor(source: Machine, target: Machine, value: Quantity, reached: Reached) -> Quantity:
    """Move the floor of a decode step: weights by bytes, kernels of the captured graph by count, all-reduces."""
    kernels = maximum(value - _step_reads(source, reached), 0.0)
    own = source.launches - source.all_reduces
    return kernels * ((target.launches - target.all_reduces) / own) + _step_reads(target, reached)


def row(source: Machine, target: Machine, value: Quantity, reached: Reached) -> Quantity:
    """Move what one stream adds to a step: its share of the matrices by FLOPs, the rest by layers and KV heads.

    The matrices of a step wait for their weights, so a row shows only `row_share` of its FLOPs at peak. The rest is
    mostly attention, one block of work a KV head and layer whatever the context; sampling is in it too.
    """
    blocks = maximum(value - _row_matrices(source, reached), 0.0)
    return blocks * (target.kv_heads_of_layers / source.kv_heads_of_layers) + _row_matrices(target, reached)


def peer_wire(source: Machine, target: Machine, value: Quantity, reached: Reached) -> Quantity:  # noqa: ARG001
    """Scale KV over the GPUs' own link: each GPU sends its heads at the link's bandwidth."""
    bandwidth = source.gpu.peer.bandwidth_bytes_per_s / target.gpu.peer.bandwidth_bytes_per_s
    return value * (target.kv_bytes_per_token / source.kv_bytes_per_token) * bandwidth


def host_wire(source: Machine, target: Machine, value: Quantity, reached: Reached) -> Quantity:  # noqa: ARG001
    """Scale KV over a host's link by all its bytes: the GPUs of a host share its NIC and its cores."""
    return value * (target.shape.kv_bytes_per_token / source.shape.kv_bytes_per_token)


def _beside_matrices(machine: Machine, reached: Reached) -> float:
    """Seconds a new token costs beside its matrices."""
    elementwise = machine.elementwise_bytes_per_token / (
        machine.gpu.memory_bandwidth_bytes_per_s * reached.memory_share
    )
    return elementwise + machine.all_reduce_bytes_per_token / _peer_bytes_per_s(machine, reached)


def _step_reads(machine: Machine, reached: Reached) -> float:
    """Seconds a decode step reads weights and waits for the latency of its all-reduces."""
    reads = machine.weights_bytes / (machine.gpu.memory_bandwidth_bytes_per_s * reached.memory_share)
    return reads + machine.all_reduces * machine.gpu.peer.latency_s


def _row_matrices(machine: Machine, reached: Reached) -> float:
    """Seconds that the matrices of a step take longer for one more row."""
    vocabulary = 2.0 * machine.matrices.vocabulary_parameters / machine.tp
    return reached.row_share * (machine.matrix_flops_per_token + vocabulary) / machine.matrix_flops_per_s


def _peer_bytes_per_s(machine: Machine, reached: Reached) -> float:
    return machine.gpu.peer.bandwidth_bytes_per_s * reached.link_share


TERMS: dict[str, dict[str, Term]] = {
    "prefill": {
        "floor_s": Term(law=launches, quantity="launch"),
        "token_s": Term(law=matrices, quantity="matrix"),
        "attention_s_per_token2": Term(law=attention, quantity="attention"),
        "kv_read_s_per_token": Term(law=kv_read, quantity="memory"),
        "overlap_sharpness": Term(law=kept, quantity="shape"),
        "wave_tokens": Term(law=wave, quantity="shape"),
        "prepare_s": Term(law=kept, quantity="host"),
        "further_share": Term(law=kept, quantity="shape"),
    },
    "decode": {
        "floor_s": Term(law=step_floor, quantity="memory"),
        "row_s": Term(law=row, quantity="row"),
        "context_s_per_token": Term(law=kv_read, quantity="memory"),
        "start_s": Term(law=kept, quantity="host"),
    },
    "stall": {
        "launch_s": Term(law=launches, quantity="launch"),
        "handoff_s": Term(law=kept, quantity="host"),
    },
    "frontend": {
        "in_s": Term(law=kept, quantity="host"),
        "in_s_per_token": Term(law=kept, quantity="host"),
        "out_s": Term(law=kept, quantity="host"),
    },
    "handoff": {
        "handshake_s": Term(law=kept, quantity="host"),
        "prefix_s": Term(law=kept, quantity="host"),
        "wire_s_per_token": Term(law=host_wire, quantity="link"),
        "fresh_wire_s_per_token": Term(law=host_wire, quantity="link"),
        "early_share": Term(law=kept, quantity="shape"),
        "join_s": Term(law=kept, quantity="host"),
        "send_s": Term(law=layers, quantity="host"),
        "beside_send_s": Term(law=kept, quantity="host"),
        "request_result_s": Term(law=kept, quantity="host"),
    },
    "transfer": {
        "call_s": Term(law=kept, quantity="host"),
        "block_s": Term(law=kept, quantity="host"),
        "byte_s": Term(law=kept, quantity="host"),
    },
}
"""The law of every parameter that a profile may hold, by curve; a wire between GPUs has `PEER_WIRE` instead."""
PEER_WIRE = Term(law=peer_wire, quantity="link")
MOVES_KV: frozenset[Law] = frozenset({attention, kv_read, peer_wire, host_wire})
"""Laws of terms that touch KV: another dtype of KV widens these alone (attention reads it in another kernel)."""
