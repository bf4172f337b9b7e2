"""What-ifs: the alternatives of a scenario on the same conversations, and the answer in a sentence or two."""

from ppdsim.whatif.run import Interrupted, Outcome, run
from ppdsim.whatif.save import RESULT_FILE, read, save, to_json
from ppdsim.whatif.words import table

__all__ = ["RESULT_FILE", "Interrupted", "Outcome", "read", "run", "save", "table", "to_json"]
