"""Distributions as a scenario writes them; the unit stands in the key names.

Tokens: ``constant`` {value_tokens}, ``uniform`` {min_tokens, max_tokens}, ``lognormal`` {median_tokens, sigma,
min_tokens, max_tokens}, ``empirical`` {values_tokens}. Times: ``constant`` {value_s}, ``exponential`` {mean_s},
``lognormal`` {median_s, sigma, max_s}, ``empirical`` {values_s}. What they mean: :mod:`ppdsim.workload.lengths`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ppdsim.limits import COUNT, GRID_VALUES, NUMBER, Limit
from ppdsim.scenario.strict import Strict
from ppdsim.workload import lengths


def up_to(limit: Limit, *, least: float = 1) -> Any:
    """Return the bounds of a number; errors name the limit."""
    return Field(ge=least, le=limit.value, json_schema_extra={"limit": limit.name})


def listed(*, least: int = 1) -> Any:
    """Return the bounds of a list's length; errors name the limit."""
    return Field(min_length=least, max_length=GRID_VALUES.value, json_schema_extra={"limit": GRID_VALUES.name})


LARGEST = float(NUMBER.value)
"""Largest number that is believed [any unit]."""
NonNegative = Annotated[float, Field(allow_inf_nan=False), up_to(NUMBER, least=0.0)]
Positive = Annotated[float, Field(allow_inf_nan=False), up_to(NUMBER, least=1.0 / LARGEST)]
PositiveInt = Annotated[int, up_to(COUNT)]
NonNegativeInt = Annotated[int, up_to(COUNT, least=0)]
Sigma = Annotated[float, Field(ge=0.0, le=20.0, allow_inf_nan=False)]
"""Standard deviation of a logarithm [1]."""


class TokensConstant(Strict):
    """Always the same count."""

    kind: Literal["constant"]
    value_tokens: PositiveInt

    def build(self) -> lengths.AbstractLength:
        """Return the distribution [tokens]."""
        return lengths.Constant(value=self.value_tokens)


class TokensUniform(Strict):
    """Equal density between two counts."""

    kind: Literal["uniform"]
    min_tokens: PositiveInt
    max_tokens: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> TokensUniform:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens {self.min_tokens} is above max_tokens {self.max_tokens}")
        return self

    def build(self) -> lengths.AbstractLength:
        """Return the distribution [tokens]."""
        return lengths.Uniform(low=self.min_tokens, high=self.max_tokens)


class TokensLognormal(Strict):
    """Right-skewed counts, clipped to a range."""

    kind: Literal["lognormal"]
    median_tokens: PositiveInt
    sigma: Sigma
    min_tokens: PositiveInt = 1
    max_tokens: PositiveInt = 131_072

    @model_validator(mode="after")
    def _ordered(self) -> TokensLognormal:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens {self.min_tokens} is above max_tokens {self.max_tokens}")
        return self

    def build(self) -> lengths.AbstractLength:
        """Return the distribution [tokens]."""
        return lengths.Lognormal(median=self.median_tokens, sigma=self.sigma, low=self.min_tokens, high=self.max_tokens)


class TokensEmpirical(Strict):
    """Counts that were seen."""

    kind: Literal["empirical"]
    values_tokens: Annotated[tuple[PositiveInt, ...], listed()]

    def build(self) -> lengths.AbstractLength:
        """Return the distribution [tokens]."""
        return lengths.Empirical(values=tuple(float(value) for value in self.values_tokens))


class SecondsConstant(Strict):
    """Always the same time."""

    kind: Literal["constant"]
    value_s: NonNegative

    def build(self) -> lengths.AbstractLength:
        """Return the distribution [s]."""
        return lengths.Constant(value=self.value_s)


class SecondsExponential(Strict):
    """Memoryless times."""

    kind: Literal["exponential"]
    mean_s: NonNegative

    def build(self) -> lengths.AbstractLength:
        """Return the distribution [s]."""
        return lengths.Exponential(mean=self.mean_s)


class SecondsLognormal(Strict):
    """Right-skewed times, clipped from above."""

    kind: Literal["lognormal"]
    median_s: Positive
    sigma: Sigma
    max_s: Positive = 3_600.0

    def build(self) -> lengths.AbstractLength:
        """Return the distribution [s]."""
        return lengths.Lognormal(median=self.median_s, sigma=self.sigma, low=0.0, high=self.max_s)


class SecondsEmpirical(Strict):
    """Times that were seen."""

    kind: Literal["empirical"]
    values_s: Annotated[tuple[NonNegative, ...], listed()]

    def build(self) -> lengths.AbstractLength:
        """Return the distribution [s]."""
        return lengths.Empirical(values=self.values_s)


Tokens = Annotated[TokensConstant | TokensUniform | TokensLognormal | TokensEmpirical, Field(discriminator="kind")]
Seconds = Annotated[
    SecondsConstant | SecondsExponential | SecondsLognormal | SecondsEmpirical, Field(discriminator="kind")
]
