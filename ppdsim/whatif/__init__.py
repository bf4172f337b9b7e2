"""What-ifs: the alternatives of a scenario on the same conversations, and the answer in a sentence or two."""

from ppdsim.whatif.run import Outcome, run
from ppdsim.whatif.words import table

__all__ = ["Outcome", "run", "table"]
