"""The largest load that a fleet carries within its SLO (see :mod:`ppdsim.capacity.run`)."""

from ppdsim.capacity.limits import parse_limits
from ppdsim.capacity.run import CapacityAnswer, capacity
from ppdsim.capacity.save import RESULT_FILE, read, save, to_json
from ppdsim.capacity.words import document, sentence

__all__ = [
    "RESULT_FILE", "CapacityAnswer", "capacity", "document", "parse_limits", "read", "save", "sentence", "to_json",
]  # fmt: skip
