"""Sweeps: every point of a grid over a scenario's keys, each with the same seeds (:func:`ppdsim.sweep.run.sweep`)."""
