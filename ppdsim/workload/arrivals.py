"""When conversations arrive: renewal processes with a mean rate.

========== ======================== ==========================
kind       gap between arrivals     coefficient of variation
========== ======================== ==========================
poisson    exponential              1
gamma      gamma, shape 1/cv^2      cv (bursty above 1)
fixed      constant                 0
========== ======================== ==========================

The mean gap is ``1 / rate_per_s`` in each. Day and week patterns, and correlated bursts, are not modelled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class AbstractArrivals(ABC):
    """A renewal process."""

    __slots__ = ()

    @abstractmethod
    def gaps_s(self, rng: np.random.Generator, count: int) -> Floats:
        """Draw `count` gaps between arrivals, shape (count,) [s]."""

    def times_s(self, rng: np.random.Generator, count: int) -> Floats:
        """Draw the first `count` arrival times after 0, non-decreasing, shape (count,) [s]."""
        return np.cumsum(self.gaps_s(rng, count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisson(AbstractArrivals):
    """Independent users: exponential gaps."""

    rate_per_s: float

    def gaps_s(self, rng: np.random.Generator, count: int) -> Floats:
        """Draw exponential gaps."""
        return rng.exponential(1.0 / self.rate_per_s, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma(AbstractArrivals):
    """Bursty (cv > 1) or regular (cv < 1) users: gamma gaps."""

    rate_per_s: float
    cv: float

    def gaps_s(self, rng: np.random.Generator, count: int) -> Floats:
        """Draw gamma gaps with mean ``1 / rate_per_s`` and coefficient of variation ``cv``."""
        shape = self.cv**-2
        return rng.gamma(shape, 1.0 / (shape * self.rate_per_s), count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed(AbstractArrivals):
    """A metronome."""

    rate_per_s: float

    def gaps_s(self, rng: np.random.Generator, count: int) -> Floats:
        """Return equal gaps; `rng` is not used."""
        return np.full(count, 1.0 / self.rate_per_s)
