"""An engine of two short files: unified servers that mix prompts into decode steps, and few captured sizes."""

from __future__ import annotations

from engines.toy.server import CHUNK_TOKENS, STREAMS, ToyClient

from ppdsim.des.admission import AbstractAdmission
from ppdsim.des.mixed_steps import MixedSteps
from ppdsim.des.scheduler import Scheduler
from ppdsim.engine_record import ChunkRule, EngineRecord, HandoffProtocol
from ppdsim.engines.base import AbstractEngine, MemoryRule, Release
from ppdsim.errors import InputError


class Toy(AbstractEngine):
    name, title = "toy", "Toy"
    releases, flags, delta_flag = {"1.0": Release()}, {}, ""
    memory_rule = MemoryRule(flag="share", chosen_by="Toy 1.0", context_bytes=1e9, fraction=lambda _, **__: 0.8)

    def record(self, version, server_flags=()):
        sizes = {"decode_graph_sizes": (1, 2, 4, 8, 16, 32, 64), "prefill_graph_sizes_tokens": (64, 512, CHUNK_TOKENS)}
        rules = {"chunk_rule": ChunkRule.MIXED_STEPS, "handoff_protocol": HandoffProtocol.PUSH}
        who = {"name": self.name, "version": version, "transfer_tasks_per_layer": 0}
        return EngineRecord(**who, **sizes, **rules, attention_tile_rows=64, overlap_schedule=False)

    def client(self, endpoints, *, show_line=None):
        return ToyClient(self.record("1.0"))

    def knobs(self, flags):
        sizes = {"max_prefill_tokens": CHUNK_TOKENS, "max_running_requests": STREAMS, "num_reserved_decode_tokens": 0}
        unused = (
            "schedule_conservativeness",
            "disaggregation_decode_extra_slots",
            "disaggregation_bootstrap_timeout_s",
        )
        pair = ("disaggregation_decode_enable_radix_cache", "disaggregation_waiting_timeout_s")
        return {**sizes, **dict.fromkeys((*unused, *pair), 0)}

    def as_run(self, model, flags):
        return model

    def scheduler(self):
        admission, step_former = lambda node, *_: Room(node), lambda node: MixedSteps(node.model)
        return Scheduler(admission=admission, step_former=step_former, prefill_node=no_pair)


def no_pair(*_):
    raise InputError("Toy has no prefill servers, expected a fleet of role U")


class Room(AbstractAdmission):
    """A turn is admitted where its whole answer fits beside all others', so that none is ever retracted."""

    resumes_from_copy = False

    def _pages(self, *turns):
        pool, there = self._node.pool, self._node.turns
        return sum(pool.pages(there.prompt[turn] + there.output[turn]) for turn in turns)

    def could_hold(self, turn):
        return self._pages(turn) <= self._node.pool.capacity

    def admits(self, turn, slots, *, reuse):
        node = self._node
        there = (*node.holding, *(one for one, _ in node.running()))
        return node.active < slots and self._pages(turn, *there) <= node.pool.capacity

    def takes_back(self, kv_tokens):
        return True

    def keep_order(self):
        return self._node.running()
