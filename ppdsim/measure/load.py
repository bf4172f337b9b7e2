"""Playing a multi-turn load: the simulator's own conversations against the live engine, kept for validation.

Each conversation is a task: wait for its arrival, send the turn, wait its think time, send the next with the answer in
front of it. The engine decides what is cached; what it found goes into the row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from ppdsim.engines.client import AbstractClient, RequestFailed
from ppdsim.measure.cells import LoadCell
from ppdsim.measure.prompts import Prompts
from ppdsim.measurements import LoadRow
from ppdsim.workload import Conversation

TIMEOUT_S = 120.0
"""Bound on one turn under load [s]."""


async def play(
    engine: AbstractClient,
    cell: LoadCell,
    conversations: Sequence[Conversation],
    prompts: Prompts,
    *,
    longest_context_tokens: int,
) -> tuple[list[LoadRow], list[RequestFailed]]:
    """Play every conversation and return the rows of the turns that ended, in order of sending, and what failed.

    A conversation stops where its context would pass `longest_context_tokens`, and where a turn fails.

    Raises
    ------
    RequestFailed
        If the servers cannot be flushed first.
    """
    await engine.flush()
    start_s = engine.now_s()
    rows: list[LoadRow] = []
    failures: list[RequestFailed] = []

    async def converse(conversation: Conversation) -> None:
        await asyncio.sleep(max(0.0, start_s + conversation.arrival_s - engine.now_s()))
        context: list[int] = []
        for number, turn in enumerate(conversation.turns):
            if number:
                await asyncio.sleep(turn.think_s)
            prompt = prompts.turn(context, turn.new_tokens)
            if len(prompt) + turn.output_tokens > longest_context_tokens:
                return
            try:
                found = await engine.generate(prompt, turn.output_tokens, timeout_s=TIMEOUT_S)
            except RequestFailed as problem:
                where = f"conversation {conversation.conversation_id}, turn {number}"
                failures.append(RequestFailed(problem.failure, f"{where}: {problem.detail}"))
                return
            gaps = np.diff(found.token_s)
            rows.append(
                LoadRow(
                    run=cell.name,
                    arm=cell.arm,
                    transport=cell.transport,
                    conversation_id=str(conversation.conversation_id),
                    turn=number,
                    sent_s=found.sent_s - start_s,
                    prompt_tokens=len(prompt),
                    cached_tokens=found.cached_tokens,
                    new_tokens=len(prompt) - found.cached_tokens,
                    output_tokens=found.output_tokens,
                    ttft_s=found.ttft_s,
                    tpot_s=found.tpot_s,
                    itl_max_s=float(gaps.max()) if len(gaps) else None,
                    e2e_s=found.e2e_s,
                    finish_reason=found.finish_reason,
                    purpose=cell.purpose,
                    cell=cell.key,
                )
            )
            context = [*prompt, *found.token_ids]

    await asyncio.gather(*(converse(conversation) for conversation in conversations))
    return sorted(rows, key=lambda row: row.sent_s or 0.0), failures
