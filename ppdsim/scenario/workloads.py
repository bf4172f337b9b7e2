"""The ``workload`` block of a scenario: generated chat, or a trace file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ppdsim.limits import CONVERSATIONS, TURNS
from ppdsim.scenario.lengths import Positive, PositiveInt, Seconds, Tokens, up_to
from ppdsim.scenario.strict import Strict
from ppdsim.workload import BLOCK_TOKENS, TRACES, AbstractWorkload, arrivals
from ppdsim.workload.conversations import GeneratedWorkload


class PoissonArrivals(Strict):
    """Independent users."""

    kind: Literal["poisson"]
    rate_per_s: Positive

    def build(self) -> arrivals.AbstractArrivals:
        """Return the arrival process."""
        return arrivals.Poisson(rate_per_s=self.rate_per_s)


class GammaArrivals(Strict):
    """Bursty users; `cv` is the coefficient of variation of the gaps."""

    kind: Literal["gamma"]
    rate_per_s: Positive
    cv: Annotated[float, Field(ge=0.001, le=1_000.0)]

    def build(self) -> arrivals.AbstractArrivals:
        """Return the arrival process."""
        return arrivals.Gamma(rate_per_s=self.rate_per_s, cv=self.cv)


class FixedArrivals(Strict):
    """Equal gaps."""

    kind: Literal["fixed"]
    rate_per_s: Positive

    def build(self) -> arrivals.AbstractArrivals:
        """Return the arrival process."""
        return arrivals.Fixed(rate_per_s=self.rate_per_s)


class GeneratedSpec(Strict):
    """Multi-turn chat drawn from distributions (:mod:`ppdsim.workload.conversations`)."""

    kind: Literal["generated"]
    conversations: Annotated[int, up_to(CONVERSATIONS)]
    arrivals: Annotated[PoissonArrivals | GammaArrivals | FixedArrivals, Field(discriminator="kind")]
    turns_mean: Annotated[float, Field(ge=1.0, le=100_000.0, allow_inf_nan=False)]
    first_turn_new_tokens: Tokens
    later_turn_new_tokens: Tokens
    output_tokens: Tokens
    think_time: Seconds

    @model_validator(mode="after")
    def _is_bounded(self) -> GeneratedSpec:
        turns = self.conversations * self.turns_mean
        if turns > TURNS.value:
            raise ValueError(TURNS.refusal("conversations, turns_mean", f"given {turns:,.0f} turns, more"))
        return self

    def build(self, directory: Path) -> AbstractWorkload:
        """Return the workload; `directory` is not used."""
        return GeneratedWorkload(
            count=self.conversations,
            arrivals=self.arrivals.build(),
            turns_mean=self.turns_mean,
            first_turn_new_tokens=self.first_turn_new_tokens.build(),
            later_turn_new_tokens=self.later_turn_new_tokens.build(),
            output_tokens=self.output_tokens.build(),
            think_time=self.think_time.build(),
        )


class TraceSpec(Strict):
    """Conversations from a file; a relative `file` counts from the scenario's folder.

    With `strict` a row without an answer (0 output tokens) is refused instead of dropped and counted.
    """

    kind: str
    file: str
    rate_scale: Positive = 1.0
    limit: PositiveInt | None = None
    strict: bool = False

    def build(self, directory: Path) -> AbstractWorkload:
        """Return the workload; the file is read when its conversations are asked for."""
        options = self.model_dump(exclude={"kind", "file"})
        return TRACES[self.kind](path=directory / self.file, **options)


class PlainTraceSpec(TraceSpec):
    """A trace whose format leaves nothing to say."""

    kind: Literal["azure", "conversations"]


class MooncakeSpec(TraceSpec):
    """Requests with blocks of their prompts (:mod:`ppdsim.workload.mooncake`).

    `spread_arrivals`: spread arrivals within the ticks of a coarse clock; left out, where the file is of that kind.
    """

    kind: Literal["mooncake"]
    timestamp_unit: Literal["ms", "s"] = "ms"
    spread_arrivals: bool | None = None
    block_tokens: Annotated[int, Field(gt=0, le=2**20)] = BLOCK_TOKENS


class AgentSessionsSpec(TraceSpec):
    """Coding-agent sessions from a file (:mod:`ppdsim.workload.agent_sessions`), clipped to the model's context."""

    kind: Literal["agent-sessions"]
    context_length: PositiveInt | None = None


WorkloadSpec = Annotated[GeneratedSpec | PlainTraceSpec | MooncakeSpec | AgentSessionsSpec, Field(discriminator="kind")]
