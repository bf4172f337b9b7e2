"""Closed forms on top of `turn`: break-even streams, prices, crossings, waits."""
