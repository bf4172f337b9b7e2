"""What a transfer costs in accuracy: ``calibration/transfer.json``, which ``benchmarks/transfer_errors.py`` computes.

The file holds the shares of bandwidth that parting a sum needs, and for each kind of transfer and quantity the sigma
that widens a derived parameter: 90 % of the absolute log errors of the worst table lie within 1.645 sigma. A transfer
of a quantity that no table shows gets `UNMEASURED_SIGMA`, the width of an unmeasured hand-off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ppdsim import library
from ppdsim.compose import UNMEASURED_SIGMA
from ppdsim.derive.machine import Machine
from ppdsim.derive.terms import Reached
from ppdsim.errors import InputError
from ppdsim.reading import read_text

FILE = "transfer.json"
Share = Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)]
Sigma = Annotated[float, Field(ge=0.0, le=10.0, allow_inf_nan=False)]
UNTOUCHED: dict[str, frozenset[str]] = {
    "gpu": frozenset({"shape"}),
    "architecture": frozenset({"shape"}),
    "model": frozenset({"shape", "host"}),
    "tp": frozenset({"shape", "host"}),
    "fp8": frozenset({"shape", "host", "launch", "attention", "link"}),
    "kv": frozenset({"shape", "host", "launch", "matrix", "row"}),
}
"""Quantities that a transfer does not change, so that nothing widens them."""


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_version: Literal["ppdsim/transfer/1"] = Field(alias="schema")
    computed_by: str
    memory_share: Share
    link_share: Share
    row_share: Share
    sigma: dict[str, dict[str, Sigma]]

    @field_validator("sigma")
    @classmethod
    def _has_a_link(cls, sigma: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        if "link" not in sigma.get("link", {}):
            raise ValueError("expected link.link among them")
        return sigma


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferErrors:
    """The shares that tables show, and one sigma of the log error by transfer and quantity."""

    reached: Reached
    sigma: dict[str, dict[str, float]]

    def of(self, transfer: str, quantity: str) -> float:
        """Return the sigma of one transfer of one quantity [1]."""
        if quantity in UNTOUCHED[transfer]:
            return 0.0
        if quantity == "link":
            return self.sigma["link"]["link"]
        return self.sigma.get(transfer, {}).get(quantity, UNMEASURED_SIGMA)

    def together(self, transfers: tuple[str, ...], quantity: str) -> float:
        """Return the sigma of several transfers at once: independent errors add in squares."""
        return math.hypot(*(self.of(transfer, quantity) for transfer in transfers))


def transfers(source: Machine, target: Machine) -> tuple[str, ...]:
    """Return the kinds of transfer between two machines."""
    found = []
    if source.gpu.name != target.gpu.name:
        found.append("gpu" if source.gpu.architecture == target.gpu.architecture else "architecture")
    same_kv = replace(target.shape, dtype_bytes=source.shape.dtype_bytes)
    if source.shape != same_kv or source.matrices != target.matrices:
        found.append("model")
    if source.tp != target.tp:
        found.append("tp")
    if source.weights_dtype != target.weights_dtype:
        found.append("fp8")
    if source.shape.dtype_bytes != target.shape.dtype_bytes:
        found.append("kv")
    return tuple(found)


def load() -> TransferErrors:
    """Read the shipped constants.

    Raises
    ------
    InputError
        If the file is damaged; the message names the key.
    """
    return read(library.shipped(FILE))


def read(path: Path) -> TransferErrors:
    """Read constants from a file; the errors are those of `load`."""
    text = read_text(path)
    try:
        content = _Content.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path}: damaged ({key!r}: {first['msg'].lower()}); "
            "'python benchmarks/transfer_errors.py --write' writes it again in a checkout"
        ) from None
    share = Reached(memory_share=content.memory_share, link_share=content.link_share, row_share=content.row_share)
    return TransferErrors(reached=share, sigma=content.sigma)
