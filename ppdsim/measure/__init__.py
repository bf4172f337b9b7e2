"""Measuring a live engine: a plan, its cells in an order that shows drift, verified points, one raw file."""
