"""How accurate a profile is on runs it has not seen: cells, decisions, level lines and loads, with gates."""

from ppdsim.validate.run import validate
from ppdsim.validate.words import to_text

__all__ = ["to_text", "validate"]
