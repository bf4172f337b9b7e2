"""The main job: where the cheaper arm changes, analytical and simulated side by side."""

from ppdsim.crossover.run import Interrupted, crossover

__all__ = ["Interrupted", "crossover"]
