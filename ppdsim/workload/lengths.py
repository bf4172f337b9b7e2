"""How long things are: distributions of token counts and of think times.

A distribution here has no unit: ``draw`` returns floats in the unit of its parameters (tokens or seconds), and
``draw_tokens`` rounds them to whole tokens, at least 1. A lognormal is given by its median and the standard deviation
`sigma` of its logarithm, so its mean is ``median * exp(sigma^2 / 2)`` before clipping; values outside [low, high] are
clipped to that range, not redrawn, so that equal generators stay aligned whatever the bounds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class AbstractLength(ABC):
    """A distribution over non-negative numbers."""

    __slots__ = ()

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw `count` values, shape (count,)."""

    def draw_tokens(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Draw `count` whole numbers of tokens, at least 1 each, shape (count,) [tokens]."""
        return np.maximum(np.rint(self.draw(rng, count)), 1.0).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(AbstractLength):
    """Always the same value."""

    value: float

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Return `count` copies; `rng` is not used."""
        return np.full(count, self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform(AbstractLength):
    """Equal density between `low` and `high`."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw from [low, high)."""
        return rng.uniform(self.low, self.high, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential(AbstractLength):
    """Memoryless, with the given mean."""

    mean: float

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw exponential values."""
        return rng.exponential(self.mean, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal(AbstractLength):
    """Right-skewed, as prompt and answer lengths are; clipped to [low, high]."""

    median: float
    sigma: float
    low: float
    high: float

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw lognormal values, clipped."""
        return np.clip(self.median * np.exp(self.sigma * rng.standard_normal(count)), self.low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Empirical(AbstractLength):
    """Values that were seen, drawn with equal chance and replacement."""

    values: tuple[float, ...]

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw from the list."""
        return rng.choice(np.asarray(self.values, dtype=np.float64), count)
