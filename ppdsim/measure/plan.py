"""The plan of a calibration as a YAML file: which cells, how often, and which are held out.

``calibration/plans/quick.yaml`` and ``full.yaml`` ship; ``--plan FILE`` takes another. Units stand in the key names. A
plan is clipped to what the machine allows (:mod:`ppdsim.measure.limits`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from ppdsim import library
from ppdsim.errors import InputError, nearest
from ppdsim.limits import CONVERSATIONS, PLAN_VALUES
from ppdsim.measure.cells import (
    TURN_TOKENS_PER_STEP,
    Cell,
    DecodeCell,
    LoadCell,
    PrefillCell,
    StallCell,
    TransferCell,
)
from ppdsim.scenario.lengths import NonNegativeInt, Positive, PositiveInt, up_to
from ppdsim.scenario.workloads import GeneratedSpec, PoissonArrivals
from ppdsim.schema_keys import dotted_keys
from ppdsim.strict import explain
from ppdsim.types import Arm, Transport, arm_name
from ppdsim.workload import Conversation
from ppdsim.yaml_file import read

ARM_NAMES = (
    arm_name(Arm.APPEND_D, Transport.NONE),
    *(arm_name(a, t) for a in (Arm.P_FULL, Arm.P_DELTA) for t in Transport if t is not Transport.NONE),
)
"""Arms as cells and plans name them."""
PAGE_TOKENS = 64
"""Rounding of cached tokens that a plan does not give itself: the engine's page on Hopper [tokens]."""


def _known(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    for name in names or ():
        if name not in ARM_NAMES:
            raise ValueError(f"no arm '{name}', expected one of {', '.join(ARM_NAMES)}{nearest(name, ARM_NAMES)}")
    return names


T = TypeVar("T")
Listed = Annotated[tuple[T, ...], Field(max_length=PLAN_VALUES.value)]
LARGEST_TRANSFER_BYTES = 2**40
"""Largest transfer that a plan may ask for [bytes]; no GPU holds as much."""
Arms = Annotated[tuple[str, ...] | None, AfterValidator(_known)]
"""Arms that a part of a plan is for, as cells name them (``append-d``, ``p-delta:tcp``); None: for every one."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class PrefillGrid(_Part):
    """Every pair of cached and new tokens; `long_new_tokens` (several chunks) only on `long_cached_tokens`."""

    cached_tokens: Listed[NonNegativeInt] = ()
    new_tokens: Listed[PositiveInt] = ()
    long_cached_tokens: Listed[NonNegativeInt] = ()
    long_new_tokens: Listed[PositiveInt] = ()

    def pairs(self) -> list[tuple[int, int]]:
        """Return (cached, new) of every cell."""
        return [(c, m) for c in self.cached_tokens for m in self.new_tokens] + [
            (c, m) for c in self.long_cached_tokens for m in self.long_new_tokens
        ]


class DecodeGrid(_Part):
    """Every pair of a batch and a prompt length."""

    batch: Listed[PositiveInt] = ()
    prompt_tokens: Listed[PositiveInt] = ()


class StallGrid(_Part):
    """Every batch of residents of one prompt length, against every turn (cached, new)."""

    batch: Listed[PositiveInt] = ()
    prompt_tokens: PositiveInt = 1024
    turns: Listed[tuple[NonNegativeInt, PositiveInt]] = ()


class Validation(_Part):
    """Cells off the grid, measured and never fitted."""

    prefill: Listed[tuple[NonNegativeInt, PositiveInt]] = ()
    decode: Listed[tuple[PositiveInt, PositiveInt]] = ()
    stall: Listed[tuple[PositiveInt, PositiveInt, NonNegativeInt, PositiveInt]] = ()


class Rates(_Part):
    """Turns of fixed total length at cache rates r = L / (L + m), each beside `batch` decoding streams; never fitted.

    A batch of 0 is an idle engine. L is rounded to pages of `PAGE_TOKENS`, which the engine's divide.
    """

    total_tokens: Listed[PositiveInt] = ()
    cache_rate: Listed[Annotated[float, Field(ge=0.0, lt=1.0)]] = ()
    batch: Listed[NonNegativeInt] = (0,)
    prompt_tokens: PositiveInt = 1024
    arms: Arms = None

    def turns(self) -> list[tuple[int, int]]:
        """Return (cached, new) of every total and rate."""
        found = []
        for total in self.total_tokens:
            for rate in self.cache_rate:
                cached = round(rate * total / PAGE_TOKENS) * PAGE_TOKENS
                found.append((cached, total - cached))
        return found


class Load(_Part):
    """One multi-turn load: the plan's chat, or one of its own, at a rate of its own."""

    name: str
    rate_per_s: Positive
    conversations: Annotated[int, up_to(CONVERSATIONS)]
    arms: Arms = None
    chat: GeneratedSpec | None = None


class Repeats(_Part):
    """At least `least` repeats, then more until the half-width of the median is small or `most` are done."""

    least: PositiveInt = 2
    most: PositiveInt = 5
    half_width: Positive = 0.02


class Probe(_Part):
    """A small cold turn, repeated all along to see the launch floor drift.

    Where KV travels, a larger one of `handoff_tokens` takes turns with it: over TCP the transfer is most of its time,
    so it shows the link. None: no such probe.
    """

    new_tokens: PositiveInt = 64
    handoff_tokens: PositiveInt | None = None
    every_s: Positive = 5.0


class Transfer(_Part):
    """The link alone: each size as each number of blocks that divides it."""

    size_bytes: Listed[Annotated[int, Field(gt=0, le=LARGEST_TRANSFER_BYTES)]] = ()
    blocks: Listed[PositiveInt] = ()


class Plan(_Part):
    """A whole plan.

    `turn_tokens_per_step` is how many tokens of a turn are prefilled and handed over during one decode step at the
    slowest: turns are injected into streams that have to run until the last is served, so slower ones need a smaller
    number (and get longer streams, which need more KV). A full hand-off of 32,768 tokens over TCP takes 3 s on the H200
    host, some 600 steps beside a few streams, and more of them pass while 40 streams are started over TCP.
    """

    schema_version: Literal["ppdsim/plan/1"] = Field(alias="schema")
    name: str
    append: PrefillGrid = PrefillGrid()
    handoff: PrefillGrid = PrefillGrid()
    decode: DecodeGrid = DecodeGrid()
    stall: StallGrid = StallGrid()
    handoff_stall: StallGrid = StallGrid()
    validation: Validation = Validation()
    rates: tuple[Rates, ...] = ()
    load: tuple[Load, ...] = ()
    chat: GeneratedSpec | None = None
    transfer: Transfer = Transfer()
    repeats: Repeats = Repeats()
    repeats_of: dict[Literal["prefill", "decode", "interference", "transfer"], Repeats] = {}
    probe: Probe = Probe()
    turn_tokens_per_step: PositiveInt = TURN_TOKENS_PER_STEP
    passes: Literal[1, 2] = 2
    budget_s: Positive | None = None
    seed: NonNegativeInt = 0
    longest_context_tokens: Annotated[int, Field(ge=1024)] = 49_152

    @model_validator(mode="after")
    def _loads(self) -> Plan:
        """Refuse two loads of one name, which rows could not tell apart, and a chat that no load draws from."""
        twice = next((name for name, count in Counter(load.name for load in self.load).items() if count > 1), None)
        if twice is not None:
            raise ValueError(f"two loads are named '{twice}'; give each a name of its own")
        if self.chat is not None and self.load and all(load.chat is not None for load in self.load):
            raise ValueError("every load has its own chat, so no load reads the chat of the plan; remove one of them")
        return self

    def chat_of(self, load: str) -> GeneratedSpec | None:
        """Return what the conversations of a load are drawn from, by its name."""
        return next((each.chat for each in self.load if each.name == load and each.chat is not None), self.chat)

    def repeats_for(self, cell: Cell) -> Repeats:
        """Return how often a cell is measured: as the plan says of its kind, or of all."""
        return next((repeats for kind, repeats in self.repeats_of.items() if kind == cell.kind), self.repeats)

    @property
    def most_repeats(self) -> int:
        """Return how often any cell may be measured."""
        return max(repeats.most for repeats in (self.repeats, *self.repeats_of.values()))


def load_plan(name: str) -> Plan:
    """Read a shipped plan by name, or a plan file.

    Raises
    ------
    InputError
        If there is no such plan, or it is malformed (the message names the key).
    """
    path = library.find("plan", name)
    content, _ = read(path)
    try:
        # Through JSON, strict means what one expects: a list becomes a tuple, but "4" is no number.
        return Plan.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, dotted_keys(Plan.model_json_schema()))}") from None


def cells_of(plan: Plan, arm: Arm, transport: Transport) -> list[Cell]:
    """Return every cell that is measured on one arm's servers.

    A unified server gives appends, decoding and stalls by appends; a prefill/decode pair gives hand-offs.
    """
    grid, stalls = (plan.append, plan.stall) if arm is Arm.APPEND_D else (plan.handoff, plan.handoff_stall)

    def prefill(pair: tuple[int, int], purpose: Literal["fit", "validation"]) -> PrefillCell:
        return PrefillCell(arm=arm, transport=transport, cached_tokens=pair[0], new_tokens=pair[1], purpose=purpose)

    def stall(batch: int, prompt: int, turn: tuple[int, int], purpose: Literal["fit", "validation"]) -> StallCell:
        return StallCell(
            arm=arm,
            transport=transport,
            batch=batch,
            prompt_tokens=prompt,
            cached_tokens=turn[0],
            new_tokens=turn[1],
            turn_tokens_per_step=plan.turn_tokens_per_step,
            purpose=purpose,
        )

    fitted = set(grid.pairs())
    cells: list[Cell] = [prefill(pair, "fit") for pair in grid.pairs()]
    if grid.pairs():
        # A cell of the grid is fitted; it cannot be held out as well.
        cells += [prefill(pair, "validation") for pair in plan.validation.prefill if pair not in fitted]
    cells += [stall(b, stalls.prompt_tokens, turn, "fit") for b in stalls.batch for turn in stalls.turns]
    if arm is Arm.APPEND_D:
        cells += [DecodeCell(batch=b, prompt_tokens=c) for b in plan.decode.batch for c in plan.decode.prompt_tokens]
        cells += [DecodeCell(batch=b, prompt_tokens=c, purpose="validation") for b, c in plan.validation.decode]
        cells += [stall(b, c, (held, new), "validation") for b, c, held, new in plan.validation.stall]
    known = {cell.key for cell in cells}
    at_rates = [
        prefill(turn, "validation") if batch == 0 else stall(batch, rates.prompt_tokens, turn, "validation")
        for rates in plan.rates
        if rates.arms is None or arm_name(arm, transport) in rates.arms
        for batch in rates.batch
        for turn in rates.turns()
        if batch or turn not in fitted
    ]
    cells += [cell for cell in at_rates if cell.key not in known]
    cells += [
        LoadCell(
            name=load.name,
            arm=arm,
            transport=transport,
            rate_per_s=load.rate_per_s,
            conversations=load.conversations,
        )
        for load in plan.load
        if load.arms is None or arm_name(arm, transport) in load.arms
    ]
    return cells


def conversations_of(plan: Plan, cell: LoadCell) -> list[Conversation]:
    """Return the conversations of a load: the same ones on every arm.

    Raises
    ------
    InputError
        If neither the load nor the plan has a chat.
    """
    chat = plan.chat_of(cell.name)
    if chat is None:
        raise InputError(f"plan '{plan.name}': load '{cell.name}' needs a 'chat' block to draw its conversations from")
    arrivals = PoissonArrivals(kind="poisson", rate_per_s=cell.rate_per_s)
    chat = chat.model_copy(update={"conversations": cell.conversations, "arrivals": arrivals})
    rng = np.random.default_rng([plan.seed, *cell.name.encode()])
    return list(chat.build(Path()).conversations(rng))


def loads_of(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return what each load of a plan is, by its name: rows know it by the name alone."""

    def drawn(load: Load) -> dict[str, Any]:
        chat = plan.chat_of(load.name)
        text = "" if chat is None else chat.model_dump_json()
        return {"chat": hashlib.sha256(text.encode()).hexdigest()[:12], "seed": plan.seed}

    return {
        load.name: {"rate_per_s": load.rate_per_s, "conversations": load.conversations, **drawn(load)}
        for load in plan.load
    }


def transfer_cells(plan: Plan, transport: Transport) -> list[TransferCell]:
    """Return the cells of the link alone."""
    return [
        TransferCell(transport=transport, size_bytes=size, blocks=blocks)
        for size in plan.transfer.size_bytes
        for blocks in plan.transfer.blocks
        if size % blocks == 0
    ]


DECODE_OUTPUT_TOKENS = 160
"""Answer of a decode cell's streams [tokens]: the first go on while the last are prefilled, then the ramp, then the
window. With 96 a batch of 20 prompts of 4096 tokens had no window on the real engine."""
STALL_OUTPUT_TOKENS = 1024
"""Least that a resident of a stall cell may generate [tokens]; it is cut off when the last turn is served."""
INJECTED_TURNS = 3
"""Turns injected into one set of residents, fewer if these would end before; the first of a shape may be slow and shows
as an outlier."""
WARM_TOGETHER = (2, 4, 8, 16)
"""Requests sent at once before a load [requests]: kernels are compiled for each power of two of a batch. On an H100 the
first forwards of more requests than ever before paused for some 200 ms, though the shapes of one request were warm."""
WARM_TOKENS = 64
"""New tokens of each of them [tokens]."""


def stall_output_tokens(cell: StallCell) -> int:
    """Return how much the residents of a stall cell may generate [tokens]."""
    return max(STALL_OUTPUT_TOKENS, (cell.cached_tokens + cell.new_tokens) // cell.turn_tokens_per_step)


def stall_prefixes(cell: StallCell, *, decode_radix: bool) -> int:
    """Return how many prefixes a stall cell warms: one a turn where D would keep the prefix that it was sent."""
    return INJECTED_TURNS if decode_radix and cell.arm is Arm.P_FULL and cell.cached_tokens else 1


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a plan file."""
    return Plan.model_json_schema(by_alias=True)
