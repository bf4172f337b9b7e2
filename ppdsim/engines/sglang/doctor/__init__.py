"""What a machine has and lacks for serving and calibrating: one row a check, each with its fix."""

from ppdsim.engines.sglang.doctor.examine import CHECKS, Examination, examine
from ppdsim.engines.sglang.doctor.finding import Finding, Status

__all__ = ["CHECKS", "Examination", "Finding", "Status", "examine"]
