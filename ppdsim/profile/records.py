"""What a calibration profile holds: the fitted curves of one machine pair, model and engine.

Curves carry parameters with unit, bounds and origin, bootstrap draws (one row a draw, the same row of every curve
belongs together), the measured domain, and errors in sample, left out and between repeats. Draws rather than a
covariance: they survive bounds and correlations. Drift between runs is a list of named spreads (`Drift`).

What it does not hold: the measured cells themselves (calibration/measurements, found by the hash in `provenance`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from ppdsim.engine_record import EngineRecord
from ppdsim.errors import ProfileError
from ppdsim.types import Arm, Tag, Transport, arm_name

SCHEMA = "ppdsim/profile/2"
MOST = 10**12
"""Largest count in a profile [tokens, bytes, values]; no machine holds more."""
Count: TypeAlias = Annotated[int, Field(gt=0, le=MOST)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ParameterRecord(_Strict):
    """One number of a curve; `low` and `high` bound its 90 % interval: over the draws, or a named prior without any."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    meaning: str
    tag: Tag
    at_bound: bool


class ErrorRecord(_Strict):
    """Absolute relative error over cells (shares, not per cent), and its signed median."""

    median: float
    p90: float
    maximum: float
    bias: float


class CurveRecord(_Strict):
    """One fitted curve. `misfit` is the relative spread (one sigma) of left-out cells beyond the draws.

    `draws` has one row a bootstrap draw and one column a name in `draw_names`; the other parameters are the same in
    every draw. `tag` is `mechanism, unmeasured` where no cell of the grid shows the curve: its parameters then state a
    named prior instead of draws, and `misfit` is that of the measured curve it is built from. `untested` are the axes
    along which cross-validation could leave no value out: beyond the domain there its error has a named prior, and
    everywhere if `left_out` is None.
    """

    kind: str
    arm: Arm | None = None
    transport: Transport | None = None
    tag: Tag
    parameters: tuple[ParameterRecord, ...]
    draw_names: tuple[str, ...]
    draws: tuple[tuple[float, ...], ...]
    domain: dict[str, tuple[float, float]]
    cells: int
    in_sample: ErrorRecord | None
    left_out: ErrorRecord | None
    repeat_noise: ErrorRecord | None
    misfit: float
    coverage_within_run: float | None
    untested: tuple[Literal["cached_tokens", "new_tokens", "batch", "context_tokens"], ...] = ()

    @property
    def name(self) -> str:
        """Return ``kind`` or ``arm:transport`` for a hand-off."""
        if self.arm is None or self.transport is None:
            return self.kind
        return arm_name(self.arm, self.transport)


class Drift(_Strict):
    """How far a quantity moves between runs: a 90 % interval in seconds or as a factor, and where it is from."""

    quantity: Literal["floor_s", "wire_s_per_token", "compute"]
    scale: Literal["absolute", "factor"]
    low: float
    high: float
    tag: Tag
    source: str


class MatricesRecord(_Strict):
    """Sizes of a dense model's matrices: what `ppdsim derive` scales its work by."""

    hidden_size: Count
    intermediate_size: Count
    matrix_parameters: float = Field(gt=0, allow_inf_nan=False)
    vocabulary_parameters: float = Field(gt=0, allow_inf_nan=False)
    query_key_norm: bool = False
    weights_dtype: str = "bf16"
    tied_embeddings: bool = False


class ModelRecord(_Strict):
    """Shape of the model that was measured; without `matrices` a profile cannot be derived from.

    `context_tokens` is the longest prompt and answer together that its positions allow, None where it is not known.
    """

    name: str
    layers: Count
    kv_heads: Count
    query_heads: Count
    head_dim: Count
    dtype: str
    kv_bytes_per_token: Count
    context_tokens: Count | None = None
    matrices: MatricesRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KvPool:
    """How many tokens of KV a server holds, where the number is from, and the rule and numbers behind it in words."""

    tokens: int
    tag: Tag
    words: str


class Profile(_Strict):
    """One calibrated machine pair. `fitted_cells` is the split: every cell that the fit has seen, and its seconds.

    `kv_pool_tokens` is the pool of the server that measured, which may have been told to take less than its GPU holds;
    `gpu_kv_pool_tokens` is what the GPU holds beside this model by the engine's own rule, `gpu_kv_pool_rule` that rule
    with its numbers. `kv_pool` is the one to take where nobody says otherwise.
    """

    _path: Path | None = PrivateAttr(default=None)
    schema_: Literal["ppdsim/profile/2"] = Field(default="ppdsim/profile/2", alias="schema")
    id: str
    date: str
    machine: str
    gpu: str
    link: str
    engine: EngineRecord
    model: ModelRecord
    tensor_parallel_size: Count = 1
    page_size_tokens: Count
    chunked_prefill_size: Count
    kv_pool_tokens: Count
    gpu_kv_pool_tokens: Count | None = None
    gpu_kv_pool_rule: str | None = None
    provenance: dict[str, str]
    curves: tuple[CurveRecord, ...]
    drift: tuple[Drift, ...]
    fitted_cells: tuple[str, ...] = ()
    left_out_rows: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def derivation(self) -> str | None:
        """What a profile made by `ppdsim derive` must say of itself wherever it is used; None for a measured one."""
        if "derived_from" not in self.provenance:
            return None
        source, changed = self.provenance["derived_from"], self.provenance["transfers"]
        return f"derived from {source} ({changed}), this machine is unmeasured"

    @property
    def kv_pool(self) -> KvPool:
        """What one server holds: of the measuring server's pool and what its GPU holds by rule, the larger."""
        by_rule = self.gpu_kv_pool_tokens
        if by_rule is not None and by_rule >= self.kv_pool_tokens:
            rule = self.gpu_kv_pool_rule or "the engine's memory rule"
            return KvPool(tokens=by_rule, tag=Tag.DERIVED, words=f"what {self.gpu} holds: {rule}")
        if self.derivation is not None:
            words = f"of a profile that is {self.derivation}"
            return KvPool(tokens=self.kv_pool_tokens, tag=Tag.DERIVED, words=words)
        return KvPool(tokens=self.kv_pool_tokens, tag=Tag.MEASURED, words="the pool of the server that measured")

    def __eq__(self, other: object) -> bool:
        """Return whether two profiles say the same, wherever they were read from."""
        return isinstance(other, Profile) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    @property
    def origin(self) -> str:
        """Where it was read from, or else its id: how an error about it begins."""
        return f"profile '{self.id}'" if self._path is None else str(self._path)

    def curve(self, kind: str, arm: Arm | None = None, transport: Transport | None = None) -> CurveRecord:
        """Return a curve's record.

        Raises
        ------
        ProfileError
            If the profile has none of that kind, arm and transport.
        """
        for record in self.curves:
            if record.kind == kind and record.arm == arm and record.transport == transport:
                return record
        have = [record.name for record in self.curves]
        wanted = kind if arm is None or transport is None else arm_name(arm, transport)
        raise ProfileError(f"profile '{self.id}' has no curve '{wanted}' (it has: {', '.join(have)})")

    def drift_of(self, quantity: str) -> Drift | None:
        """Return the drift of a quantity between runs, or None if it is anchored."""
        return next((drift for drift in self.drift if drift.quantity == quantity), None)
