"""The largest load that a fleet carries within its SLO (see :mod:`ppdsim.capacity.run`)."""

from ppdsim.capacity.alternatives import capacity_of_each, table
from ppdsim.capacity.alternatives import save as save_each
from ppdsim.capacity.limits import parse_limits
from ppdsim.capacity.run import Interrupted, capacity
from ppdsim.capacity.save import RESULT_FILE, read, save, to_json
from ppdsim.capacity.words import sentence

__all__ = [
    "RESULT_FILE", "Interrupted", "capacity", "capacity_of_each", "parse_limits", "read",
    "save", "save_each", "sentence", "table", "to_json",
]  # fmt: skip
